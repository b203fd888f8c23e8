"""FrEIA 0.2: log|det| of InvertibleSigmoid on images has the shape of a picture.
Cause: modules/fixed_transforms.py:178, logJ.sum(1). Matters: the wrong sum wherever it broadcasts."""
import torch
from FrEIA.modules import InvertibleSigmoid

x = torch.randn(3, 2, 3, 3)
z, log_det = InvertibleSigmoid([(2, 3, 3)])([x])
print("wrong", tuple(log_det.shape), "right", (z[0] * (1 - z[0])).log().flatten(1).sum(1).tolist())
