"""nflows 0.14: NaiveLinear has no inverse beside a current PyTorch.
Cause: transforms/linear.py:183, torch.solve is gone from PyTorch. Matters: cannot sample."""
import torch
from nflows.transforms import NaiveLinear

layer, z = NaiveLinear(3), torch.randn(2, 3)
try:
    print("right", layer.inverse(z)[0])
except RuntimeError as error:
    print("wrong", str(error)[:60], "\nright", torch.linalg.solve(layer._weight, z.T).T.tolist())
