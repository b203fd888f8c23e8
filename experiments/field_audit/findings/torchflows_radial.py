"""torchflows 1.2.1: log|det| of Radial is not that of its map.
Cause: residual/radial.py:57-68, the radius is taken entry by entry. Matters: wrong likelihood and gradient."""
import torch
from torchflows.bijections.finite.residual.radial import Radial

torch.manual_seed(0)
layer, z = Radial((4,)).double(), torch.randn(1, 4).double()
jacobian = torch.autograd.functional.jacobian(lambda v: layer.inverse(v)[0], z)[0, :, 0]
print("wrong", layer.inverse(z)[1].item(), "right", torch.linalg.slogdet(jacobian)[1].item())
