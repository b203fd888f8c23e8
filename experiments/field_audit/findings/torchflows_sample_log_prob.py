"""torchflows 1.2.1: sample(return_log_prob=True) adds the log|det| of the inverse, which is to be subtracted.
Cause: flows.py:711. Matters: the log_prob that comes with a sample is not that of the sample."""
import torch
from torchflows.bijections.finite.autoregressive import layers
from torchflows.flows import Flow

torch.manual_seed(0)
flow = Flow(layers.ElementwiseAffine((2,))).eval()
x, own = flow.sample((3,), return_log_prob=True)
print("wrong", own.tolist(), "right", flow.log_prob(x).tolist())
