"""flowtorch 0.8: log|det| of Compose adds terms of different shapes.
Cause: bijectors/compose.py:138; the spline gives (B, D), the autoregressive map (B,). Matters: raises."""
import flowtorch.bijectors as b
import flowtorch.distributions as d
import flowtorch.parameters as p
import torch
normal = torch.distributions.MultivariateNormal(torch.zeros(4), torch.eye(4))
flow = d.Flow(normal, b.Compose([b.AffineAutoregressive(p.DenseAutoregressive()), b.Spline()]))
try:
    print("right", tuple(flow.log_prob(torch.randn(4, 4)).shape))
except RuntimeError as error:
    print("wrong", error, "right", (4,))
