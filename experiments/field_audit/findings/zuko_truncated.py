"""zuko 1.6.0: samples of a distribution that is truncated far out lie outside of its bounds.
Cause: distributions.py:488, (1 - 2e-6) u + 1e-6 leaves [cdf(a), cdf(b)]. Matters: log_prob of them is -inf."""
import torch
from zuko.distributions import Truncated

zero, one, low, high = (torch.tensor(v, dtype=torch.float64) for v in (0.0, 1.0, 6.0, 9.0))
law = Truncated(torch.distributions.Normal(zero, one), low, high)
print("wrong", law.sample((3,)).tolist(), "right: all between", low.item(), "and", high.item())
