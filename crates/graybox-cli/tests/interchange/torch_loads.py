"""torch_loads.py WEIGHTS ACTIONS.csv: loads the weights and prints the largest difference to a prediction."""
import csv, sys

import torch
from safetensors.torch import load_file

from policy import Policy

weights, actions = sys.argv[1:]
policy = Policy(2, 1)
policy.load_state_dict(load_file(weights))
with open(actions) as file:
    rows = torch.tensor([[float(field) for field in row] for row in list(csv.reader(file))[1:]])
print((policy(rows[:, :2]) - rows[:, -1:]).abs().max().item())
