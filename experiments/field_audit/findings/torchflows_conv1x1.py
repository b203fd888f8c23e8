"""torchflows 1.2.1: the 1x1 convolution of Glow counts one pixel, not height times width.
Cause: transformers/linear/convolution.py:51, the matrix's log|det| is not times H W. Matters: wrong likelihood and gradient."""
import torch
from torchflows.bijections.finite.multiscale.base import Invertible1x1ConvolutionalCoupling as Conv

torch.manual_seed(0)
layer, x = Conv((4, 4, 3)).double(), torch.randn(1, 4, 4, 3).double()
[p.data.add_(0.3 * torch.randn_like(p)) for p in layer.parameters()]
jacobian = torch.autograd.functional.jacobian(lambda v: layer(v)[0], x).reshape(48, 48)
print("wrong", layer(x)[1].item(), "right", torch.linalg.slogdet(jacobian)[1].item())
