"""torch_trains.py IN OUT DATA.csv: changes a policy in PyTorch, saves it, and prints its true loss on the data."""
import csv, math, sys

import torch
from safetensors.torch import load_file, save_file

from policy import Policy

start, end, data = sys.argv[1:]
policy = Policy(2, 1)
policy.load_state_dict(load_file(start))
with open(data) as file:
    rows = [{name: float(row[name]) for name in ("distance", "wind")} for row in csv.DictReader(file)]
x = torch.tensor([[row["distance"], row["wind"]] for row in rows])
optimizer = torch.optim.Adam(policy.parameters(), lr=1e-3)
for _ in range(50):  # towards the angle that is right without wind
    optimizer.zero_grad()
    right = 0.5 * torch.asin((x[:, :1] * 9.81 / 400).clamp(max=1))
    ((policy(x) - right) ** 2).mean().backward()
    optimizer.step()
save_file({name: tensor.contiguous() for name, tensor in policy.state_dict().items()}, end)

losses = []
for row, angle in zip(rows, policy(x).detach().squeeze(1).tolist()):
    airborne = 2 * 20 * math.sin(angle) / 9.81
    reached = 20 * math.cos(angle) * airborne + 0.2 * row["wind"] * airborne ** 2
    losses.append((reached - row["distance"]) ** 2)
print(sum(losses) / len(losses))
