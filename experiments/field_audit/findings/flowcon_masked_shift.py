"""flowcon 0.0.4: forward of MaskedShiftAutoregressiveTransform adds 2 tanh(s), its inverse subtracts s.
Cause: transforms/autoregressive/autoregressive.py:171 and 183. Matters: samples are not those of the density."""
import torch
from flowcon.transforms import MaskedShiftAutoregressiveTransform

torch.manual_seed(0)
layer, x = MaskedShiftAutoregressiveTransform(4, 16), torch.randn(1, 4)
for p in layer.parameters():
    torch.nn.init.normal_(p, 0, 0.5)
print("wrong", layer.inverse(layer(x)[0])[0].tolist(), "right", x.tolist())
