"""pyro-ppl 1.9.2: ConditionalGeneralizedChannelPermute refuses a batch of contexts.
Cause: distributions/transforms/generalized_channel_permute.py:29, diag() of a batch. Matters: raises."""
import torch
from pyro.distributions.transforms import ConditionalGeneralizedChannelPermute
from pyro.nn import DenseNN

layer = ConditionalGeneralizedChannelPermute(DenseNN(2, [8], [9]), channels=3)
made, x = layer.condition(torch.randn(5, 2)), torch.randn(5, 3, 4, 4)
try:
    print("right", made.log_abs_det_jacobian(x, made(x)).shape)
except RuntimeError as error:
    print("wrong", error, "right", (5,))
