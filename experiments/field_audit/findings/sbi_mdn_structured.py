"""sbi 0.27.0: a mixture density network with structured z-scoring does not integrate to 1.
Cause: estimators/mixture_density_estimator.py:479 counts the log of its one scale once, not per dimension. Matters: a constant."""
import torch
from sbi.neural_nets import posterior_nn

torch.manual_seed(0)
theta, x, grid = 10 * torch.randn(500, 2), torch.randn(500, 3), torch.arange(-100, 100, 1.0)
grid = torch.cartesian_prod(grid + 0.5, grid + 0.5)
for how, word in (("structured", "wrong"), ("independent", "right")):
    law = posterior_nn("mdn", z_score_theta=how)(theta, x)
    print(word, law.log_prob(grid[:, None], x[:1]).exp().sum().item())
