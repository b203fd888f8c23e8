"""torchflows 1.2.1: DenseGaussian scores and cannot be sampled.
Cause: base_distributions/gaussian.py:106, cholesky @ noise with the noise in rows. Matters: raises."""
import torch
from torchflows.base_distributions.gaussian import DenseGaussian

law = DenseGaussian(torch.zeros(2), torch.tensor([[2.0, 0.7], [0.7, 1.0]]))
try:
    print("right", law.sample((5,)).shape)
except RuntimeError as error:
    print("wrong", error, "right", (5, 2))
