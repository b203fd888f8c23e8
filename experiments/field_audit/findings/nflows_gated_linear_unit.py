"""nflows 0.14: log|det| of GatedLinearUnit is not one number a sample.
Cause: transforms/nonlinearities.py:166 reshapes where it has to sum. Matters: a shape that may broadcast."""
import torch
from nflows.transforms import GatedLinearUnit

x = torch.randn(2, 3)
z, log_det = GatedLinearUnit()(x, x)
print("wrong", tuple(log_det.shape), "right", tuple((z / x).log().sum(1).shape))
