"""normflows 1.7.3: log|det| of Planar with leaky_relu is float32 for float64 input.
Cause: flows/planar.py:60, (x < 0) times a number has the default type. Matters: 1e-8 in float64."""
import torch
from normflows.flows import Planar

torch.manual_seed(0)
layer, x = Planar((2,), act="leaky_relu").double(), -torch.ones(1, 2, dtype=torch.float64)
slogdet = torch.linalg.slogdet(torch.autograd.functional.jacobian(lambda v: layer(v)[0], x)[0, :, 0])[1]
print("wrong", layer(x)[1].dtype, f"{layer(x)[1].item():.12f}", "right", f"{slogdet.item():.12f}")
