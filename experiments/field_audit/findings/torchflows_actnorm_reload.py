"""torchflows 1.2.1: the first training batch after loading sets ActNorm anew.
Cause: layers.py:48, first_training_batch_pass is no buffer. Matters: training goes on from other weights."""
import torch
from torchflows.bijections.finite.autoregressive import layers

saved, loaded = layers.ActNorm((2,)).train(), layers.ActNorm((2,)).train()
saved(torch.randn(100, 2))
loaded.load_state_dict(saved.state_dict())
right = loaded.value.flatten().tolist()
loaded(5 * torch.randn(100, 2) + 3)
print("wrong", loaded.value.flatten().tolist(), "right", right)
