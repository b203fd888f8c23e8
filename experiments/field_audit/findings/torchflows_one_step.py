"""torchflows 1.2.1: a continuous flow takes one Runge-Kutta step by default, so that its inverse does not undo it.
Cause: bijections/continuous/base.py:246, solver="rk4" without a step size, on the times (0, 1). Matters: samples that are not those of log_prob, silently."""
import torch
from torchflows.bijections.continuous.ffjord import FFJORD

torch.manual_seed(0)
layer, x = FFJORD((3,)).eval(), torch.randn(1, 3)
[p.data.add_(0.6 * torch.randn_like(p)) for p in layer.parameters()]
for solver in ("rk4", "dopri5"):
    layer.solver = solver
    print(solver, layer.inverse(layer.forward(x)[0])[0].tolist(), "right", x.tolist())
