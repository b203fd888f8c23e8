"""nflows 0.14: with using_cache, weights loaded into a model that was evaluated are not used.
Cause: transforms/linear.py:87, the cache ends only in train(). Matters: wrong likelihoods, wrong samples."""
import torch
from nflows.transforms import LULinear

torch.manual_seed(0)
new, used = (LULinear(3, using_cache=True, identity_init=False).eval() for _ in range(2))
x = torch.randn(1, 3)
used(x)
used.load_state_dict(new.state_dict())
print("wrong", used(x)[1].item(), "right", new(x)[1].item())
