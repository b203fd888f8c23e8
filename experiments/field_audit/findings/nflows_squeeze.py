"""nflows 0.14: SqueezeTransform(factor=3) maps forward and refuses its own output.
Cause: transforms/reshape.py:57 asks for a multiple of 4 channels, not of factor^2. Matters: no inverse."""
import torch
from nflows.transforms import SqueezeTransform

layer, x = SqueezeTransform(3), torch.randn(1, 2, 6, 3)
z, _ = layer(x)
try:
    print("right", torch.equal(layer.inverse(z)[0], x))
except ValueError as error:
    print("wrong", z.shape, error, "right", x.shape)
