"""pyro-ppl 1.9.2: AffineAutoregressive in float64 has no inverse while the default type is float32.
Cause: distributions/transforms/affine_autoregressive.py:152, zeros of the default type. Matters: raises."""
import pyro.distributions.transforms as transforms
import torch
from pyro.nn import AutoRegressiveNN

layer = transforms.AffineAutoregressive(AutoRegressiveNN(4, [8])).double()
try:
    print("right", layer.inv(torch.randn(2, 4).double()).shape)
except RuntimeError as error:
    print("wrong", error, "right", (2, 4))
