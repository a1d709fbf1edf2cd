"""A graybox policy as a PyTorch module: tanh between the layers, actions within bounds."""
import torch
from torch import nn


class Scaler(nn.Module):
    def __init__(self, d):
        super().__init__()
        self.register_buffer("shift", torch.zeros(1, d))
        self.register_buffer("scale", torch.ones(1, d))


class Policy(nn.Module):
    def __init__(self, d_x, d_u, hidden=(64, 64)):
        super().__init__()
        self.context, self.body, self.head = Scaler(d_x), nn.Module(), nn.Module()
        self.body.layers = nn.ModuleList(nn.Linear(i, o) for i, o in zip((d_x, *hidden), (*hidden, d_u)))
        self.head.units = Scaler(d_u)

    def forward(self, x):
        z = (x - self.context.shift) / self.context.scale
        for layer in self.body.layers[:-1]:
            z = torch.tanh(layer(z))
        return torch.tanh(self.body.layers[-1](z)) * self.head.units.scale + self.head.units.shift
