"""torchflows 1.2.1: log|det| of the dense sigmoid transformer is wrong by thousands of nats.
Cause: transformers/combination/sigmoid.py:203-210, as in the deep one. Matters: likelihood and gradient."""
import torch
from torchflows.bijections.finite.autoregressive import layers

torch.manual_seed(0)
layer, x = layers.DenseSigmoidalCoupling((4,)).double(), torch.randn(1, 4).double()
jacobian = torch.autograd.functional.jacobian(lambda v: layer(v)[0], x)[0, :, 0]
print("wrong", layer(x)[1].item(), "right", torch.linalg.slogdet(jacobian)[1].item())
