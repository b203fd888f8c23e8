"""torchflows 1.2.1: the random mask of global parameters of DenseSigmoidalCoupling is not saved.
Cause: conditioning/transforms.py:64, a plain attribute. Matters: a loaded model is another one."""
import torch
from torchflows.bijections.finite.autoregressive import layers

torch.manual_seed(0)
saved, loaded = (layers.DenseSigmoidalCoupling((4,)) for _ in range(2))
loaded.load_state_dict(saved.state_dict())
x = torch.randn(1, 4)
print("wrong", loaded(x)[0].tolist(), "right", saved(x)[0].tolist())
