"""nflows 0.14: a cached inverse fails in float64 while the default type is float32.
Cause: transforms/lu.py:109 (and qr.py:103) makes an identity of the default type. Matters: raises."""
import torch
from nflows.transforms import LULinear

layer, z = LULinear(3, using_cache=True).double().eval(), torch.randn(2, 3).double()
try:
    print("right", layer.inverse(z)[0])
except RuntimeError as error:
    print("wrong", str(error)[:90], "\nright", LULinear(3).double().eval().inverse(z)[0].shape)
