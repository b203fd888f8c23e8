"""FrEIA 0.2: the inverse of HaarDownsampling changes the caller's z.
Cause: modules/reshapes.py:297, x_perm *= fac_rev (in place). Matters: the second call sees another z."""
import torch
from FrEIA.modules import HaarDownsampling

layer, z = HaarDownsampling([(1, 2, 2)]), torch.ones(1, 4, 1, 1)
first = layer([z], rev=True)[0][0].flatten().tolist()
print("wrong", layer([z], rev=True)[0][0].flatten().tolist(), "right", first, "z", z.flatten().tolist())
