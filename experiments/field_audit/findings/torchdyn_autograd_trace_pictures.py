"""torchdyn 1.0.6: autograd_trace of a picture's velocity sums whole blocks of the Jacobian, not its diagonal.
Cause: models/cnf.py:22, x_out[:, i] is a channel; its sum mixes places. Matters: CNF of pictures with a convolution: a silent log-determinant."""
import torch
from torchdyn.models import autograd_trace

torch.manual_seed(0)
net, x = torch.nn.Conv2d(2, 2, 3, padding=1), torch.randn(1, 2, 3, 4, requires_grad=True)
jacobian = torch.autograd.functional.jacobian(net, x).reshape(24, 24)
print("wrong", autograd_trace(net(x), x).sum().item(), "right", jacobian.trace().item())
