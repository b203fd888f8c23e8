"""normflows 1.7.3: transforms.Shift changes the batch that it is given.
Cause: transforms.py:67, z -= self.shift. Matters: the second pass over a batch sees other data."""
import torch
from normflows.transforms import Shift

x, layer = torch.full((1, 2), 0.7), Shift()
first = layer(x)[0].tolist()
print("wrong", layer(x)[0].tolist(), "right", first, "x", x.tolist())
