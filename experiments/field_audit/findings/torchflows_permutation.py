"""torchflows 1.2.1: a random permutation is not in the state_dict.
Cause: matrix/permutation.py:15, plain attributes. Matters: a loaded model permutes otherwise."""
import torch
from torchflows.bijections.finite.matrix import RandomPermutationMatrix

torch.manual_seed(0)
saved, loaded = RandomPermutationMatrix((6,)), RandomPermutationMatrix((6,))
loaded.load_state_dict(saved.state_dict())
x = torch.arange(6.0)[None]
print("wrong", loaded(x)[0].tolist(), "right", saved(x)[0].tolist())
