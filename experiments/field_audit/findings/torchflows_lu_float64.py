"""torchflows 1.2.1: LUMatrix fails in float64 while the default type is float32.
Cause: matrix/triangular.py:77, a matrix of the default type is filled. Matters: raises."""
import torch
from torchflows.bijections.finite.matrix import LUMatrix

try:
    print("right", LUMatrix((3,)).double()(torch.randn(2, 3).double())[0].shape)
except RuntimeError as error:
    print("wrong", error, "right", (2, 3))
