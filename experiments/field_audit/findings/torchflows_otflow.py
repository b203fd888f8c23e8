"""torchflows 1.2.1: OTFlowBijection follows a velocity whose divergence is not the one that it adds up.
Cause: bijections/continuous/otflow.py:103, sigma_prime(lin * w) for sigma_prime(lin) * w. Matters: log_prob once w is not 1, as after training, silently."""
import torch
from torchflows.bijections.continuous.otflow import OTFlowBijection

torch.manual_seed(0)
step, x, t = OTFlowBijection((3,)).f, torch.randn(1, 3), torch.tensor(0.5)
for w in (1.0, 2.0):
    step.time_deriv.w.data.fill_(w)
    full = torch.autograd.functional.jacobian(lambda v: step.eval().step(t, v)[0], x).reshape(3, 3)
    print("w =", w, "divergence", step.step(t, x)[1].item(), "right", full.trace().item())
