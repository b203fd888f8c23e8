"""torchflows 1.2.1: log|det| of the inverse of a masked autoregressive spline is taken at the wrong point.
Cause: layers_base.py:220, the last pass of the loop has all but one entry. Matters: log_prob of samples."""
import torch
from torchflows.bijections.finite.autoregressive import layers

torch.manual_seed(0)
layer = layers.RQSForwardMaskedAutoregressive((4,)).double()
[p.data.add_(50 * torch.randn_like(p)) for p in layer.parameters() if p.dim() == 1]
x = 10 * torch.randn(1, 4).double()
z, log_det = layer(x)
print("wrong", layer.inverse(z)[1].item(), "right", -log_det.item())
