"""torchflows 1.2.1: masked autoregressive layers do not read their context.
Cause: conditioning/transforms.py:238-240, the context's degrees lie above all outputs. Matters: p(x), not p(x|c)."""
import torch
from torchflows.bijections.finite.autoregressive import layers

torch.manual_seed(0)
x, c = torch.randn(1, 4), torch.randn(1, 2, requires_grad=True)
for name, word in (("AffineForwardMaskedAutoregressive", "wrong"), ("AffineCoupling", "right")):
    layer = getattr(layers, name)((4,), context_shape=(2,))
    [p.data.add_(torch.randn_like(p)) for p in layer.parameters()]
    print(word, name, torch.autograd.grad(layer(x, context=c)[0].sum(), c)[0].tolist())
