"""torchflows 1.2.1: sample(n, context) fails unless there are n contexts.
Cause: flows.py:690-692, the context is repeated once too often. Matters: raises, against its docstring."""
import torch
from torchflows.bijections.finite.autoregressive import layers
from torchflows.flows import Flow

flow = Flow(layers.AffineCoupling((2,), context_shape=(3,)))
try:
    print("right", flow.sample((10,), context=torch.randn(5, 3)).shape)
except AssertionError:
    print("wrong: AssertionError", "right", (10, 5, 2))
