"""torchdyn 1.0.6: the solver "rk4" has order one where the velocity depends on the time.
Cause: numerics/solvers/_constants.py:21, stages are taken at t, t + dt/2, t + dt/2, not t + dt/2, t + dt/2, t + dt. Matters: samples and likelihoods, silently."""
import torch
from torchdyn.numerics import odeint

x = torch.ones(1, 1, dtype=torch.float64)
for n in (10, 20, 40):
    t = torch.linspace(0, 1, n + 1, dtype=torch.float64)
    wrong = odeint(lambda t, x: 2 * t * x, x, t, "rk4")[1][-1].item()
    print(f"{n} steps: wrong {wrong:.5f} right {torch.e:.5f} error {wrong - torch.e:+.5f}, which order four divides by 16")
