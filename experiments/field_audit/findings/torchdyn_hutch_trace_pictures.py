"""torchdyn 1.0.6: hutch_trace of a picture's velocity raises RuntimeError.
Cause: models/cnf.py:28, einsum("bi,bi->b") takes two dimensions. Matters: an error."""
import torch
from torchdyn.models import hutch_trace

x = torch.randn(1, 2, 3, 4, requires_grad=True)
noise = torch.randint(0, 2, x.shape) * 2.0 - 1
print("right", 24 * -0.5, "wrong", hutch_trace(-0.5 * x, x, noise).tolist())
