"""pyro-ppl 1.9.2: log|det| of Sylvester is not that of its map.
Cause: distributions/transforms/sylvester.py:122-126. Matters: wrong likelihood away from the start, where tests look."""
import pyro.distributions.transforms as transforms
import torch

torch.manual_seed(0)
layer, x = transforms.Sylvester(4, count_transforms=3).double(), torch.randn(1, 4).double()
for p in layer.parameters():
    torch.nn.init.normal_(p)
jacobian = torch.autograd.functional.jacobian(layer, x)[0, :, 0]
print("wrong", layer.log_abs_det_jacobian(x, layer(x)).item(), "right", torch.linalg.slogdet(jacobian)[1].item())
