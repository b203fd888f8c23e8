"""nflows 0.14: log|det| of LeakyReLU is computed in float32, whatever the type of the input.
Cause: transforms/nonlinearities.py:109, type(torch.Tensor) of the mask. Matters: 1e-8 in float64."""
import math

import torch
from nflows.transforms import LeakyReLU

log_det = LeakyReLU(0.3)(-torch.ones(1, 1, dtype=torch.float64))[1]
print("wrong", log_det.dtype, f"{log_det.item():.12f}", "right", f"{math.log(0.3):.12f}")
