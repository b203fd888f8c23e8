"""normflows 1.7.3: log_prob of GaussianPCA has + d/2 log 2 pi and det for log det.
Cause: distributions/base.py:714-715. Matters: wrong likelihood and gradient of sigma and W."""
import torch
from normflows.distributions import GaussianPCA

torch.manual_seed(0)
law = GaussianPCA(1, 1, sigma=0.5)
std = (law.W.square().sum() + 0.25).sqrt().item()
right = torch.distributions.Normal(0.0, std).log_prob(torch.tensor(0.0)).item()
print("wrong", law.log_prob(torch.zeros(1, 1)).item(), "right", right)
