"""zuko 1.6.0: SignedPowerTransform of 0 is nan for alpha < 0.
Cause: transforms.py:372, x * abs(x) ** expm1(alpha) is 0 * inf. Matters: only at an exact 0, where log|det| is infinite by right."""
import torch
from zuko.transforms import SignedPowerTransform

layer = SignedPowerTransform(torch.tensor(-0.5))
print("wrong", layer(torch.tensor(0.0)).item(), "right", 0.0, "beside it", layer(torch.tensor(1e-30)).item())
