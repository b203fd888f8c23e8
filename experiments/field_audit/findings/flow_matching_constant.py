"""flow_matching 1.0.10: compute_likelihood raises RuntimeError for a velocity that does not depend on x.
Cause: utils/utils.py:87, grad of what does not need x; its divergence is 0. Matters: an error at a start with zero weights in the last layer."""
import torch
from flow_matching.solver import ODESolver

x, base = torch.ones(2, 3), lambda z: torch.distributions.Normal(0.0, 1.0).log_prob(z).sum(1)
print("right", base(x - 0.5).tolist(), "everything moves by 0.5")
print("wrong", ODESolver(lambda x, t: 0.5 * torch.ones_like(x)).compute_likelihood(x, base, step_size=0.1)[1].tolist())
