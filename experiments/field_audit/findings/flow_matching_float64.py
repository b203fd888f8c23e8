"""flow_matching 1.0.10: compute_likelihood of float64 numbers raises RuntimeError.
Cause: solver/ode_solver.py:147, the probe has the default type, not that of x_1. Matters: an error; also for bfloat16 and float16."""
import torch
from flow_matching.solver import ODESolver

solver = ODESolver(lambda x, t: -0.5 * x)
x, base = torch.ones(2, 3), lambda z: torch.distributions.Normal(0.0, 1.0).log_prob(z).sum(1)
how = {"method": "midpoint", "step_size": 0.02}
print("right", solver.compute_likelihood(x, base, **how)[1][0].item(), "in float32")
print("wrong", solver.compute_likelihood(x.double(), base, **how)[1][0].item())
