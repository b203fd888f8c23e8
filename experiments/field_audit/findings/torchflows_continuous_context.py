"""torchflows 1.2.1: continuous flows take a context and ignore it.
Cause: bijections/continuous/base.py:283, context is an argument of inverse that nothing reads. Matters: conditional FFJORD, RNODE, OTFlow and DDNF, silently."""
import torch
from torchflows.bijections.continuous.ffjord import FFJORD

torch.manual_seed(0)
layer, x = FFJORD((3,), context_shape=(2,)).eval(), torch.randn(1, 3)
for c in (torch.zeros(1, 2), torch.full((1, 2), 100.0)):
    print("wrong: the same for context", c.tolist(), layer.forward(x, context=c)[0].tolist())
