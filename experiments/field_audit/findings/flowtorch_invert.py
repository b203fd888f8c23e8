"""flowtorch 0.8: log|det| of Invert has the sign of the bijector that it inverts.
Cause: bijectors/invert.py:59, a minus is missing. Matters: wrong likelihood and gradient."""
import flowtorch.bijectors as b
import torch

torch.manual_seed(0)
layer, x = b.Invert(b.ELU())(shape=torch.Size([1])), torch.tensor([[-0.5]])
slope = torch.autograd.functional.jacobian(lambda v: torch.as_tensor(layer.forward(v)), x).abs().log()
z = layer.forward(x)
print("wrong", layer.log_abs_det_jacobian(x, z).item(), "right", slope.item())
