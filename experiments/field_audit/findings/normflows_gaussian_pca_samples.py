"""normflows 1.7.3: samples of GaussianPCA lack the noise sigma.
Cause: distributions/base.py:693, z = eps W + loc. Matters: samples lie on the subspace of W."""
import torch
from normflows.distributions import GaussianPCA

torch.manual_seed(0)
law = GaussianPCA(2, 1, sigma=0.5)
covariance = law.W.T @ law.W + 0.25 * torch.eye(2)
drawn = law(100_000)[0]
print("wrong", torch.det(drawn.T.cov()).item(), "right", torch.det(covariance).item())
