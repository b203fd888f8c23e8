"""enflows 0.0.1 (and flowcon 0.0.4): the log slope in log|det| is trained, the slope that acts is fixed.
Cause: transforms/nonlinearities.py:122 makes it a Parameter. Matters: a likelihood without limit."""
import math

import torch
from enflows.transforms import LeakyReLU

layer, x = LeakyReLU(0.1), -torch.ones(1, 2)
layer.log_negative_slope.data += 5.0  # where any optimizer takes it: log|det| grows, z stays
print("wrong", layer(x)[1].item(), "right", 2 * math.log(0.1), "z", layer(x)[0].tolist())
