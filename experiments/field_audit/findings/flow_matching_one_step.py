"""flow_matching 1.0.10: with step_size=None, compute_likelihood takes one Euler step, and gives a density that is the same everywhere.
Cause: solver/ode_solver.py:111, the default method "euler" on the time grid (1, 0). Matters: likelihoods and samples, without a warning."""
import torch
from flow_matching.solver import ODESolver
from torch.distributions import Normal

s2 = lambda t: (1 - t) ** 2 + (0.3 * t) ** 2  # linear paths from N(0, 1) to N(1, 0.3^2): the exact velocity
solver = ODESolver(lambda x, t: 1 + (0.09 * t - (1 - t)) / s2(t) * (x - t))
x, base = torch.tensor([[0.4], [1.0], [2.5]]), lambda z: Normal(0.0, 1.0).log_prob(z).sum(1)
print("wrong", solver.compute_likelihood(x, base, step_size=None)[1].tolist())
print("right", Normal(1.0, 0.3).log_prob(x).sum(1).tolist())
