"""nflows 0.14: MADEMoG without context can be fitted, but not sampled.
Cause: nn/nde/made.py:362 reads context.shape. Matters: raises."""
import torch
from nflows.distributions import MADEMoG

law = MADEMoG(2, 8, None, num_mixture_components=3)
try:
    print("right", law.sample(3).shape)
except AttributeError as error:
    print("wrong", error, "right: samples, as log_prob exists", law.log_prob(torch.zeros(1, 2)).item())
