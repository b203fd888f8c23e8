"""FrEIA 0.2: LearnedElementwiseScaling has the same log|det| in both directions.
Cause: modules/inv_auto_layers.py:158, the sum of s has no minus if rev. Matters: wrong likelihood and gradient."""
import torch
from FrEIA.modules import LearnedElementwiseScaling

layer, x = LearnedElementwiseScaling([(3,)]), torch.randn(1, 3)
torch.nn.init.ones_(layer.s)
print("wrong", layer([x], rev=True)[1].item(), "right", -layer([x])[1].item())
