"""normflows 1.7.3: beyond its bound, a linear coordinate of a circular spline flow becomes 0.
Cause: utils/splines.py:48, outputs are set for one kind of tail only. Matters: x is lost, log|det| is not -inf."""
import torch
from normflows.flows import CircularCoupledRationalQuadraticSpline

torch.manual_seed(0)
layer = CircularCoupledRationalQuadraticSpline(4, 1, 8, ind_circ=[0, 1], tail_bound=3.0)
x = torch.tensor([[0.3, 0.2, 5.0, -7.0]])  # coordinates 2 and 3 are not circular
z, log_det = layer(x)
print("wrong", z.tolist(), "right", [[*z[0, :2].tolist(), 5.0, -7.0]], "log|det|", log_det.item())
