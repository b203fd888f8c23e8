"""stribor 0.2.0: a random permutation is not in the state_dict.
Cause: flows/permute.py:65, a plain attribute. Matters: a loaded model permutes otherwise."""
import sys
from types import SimpleNamespace as Fake  # torchtyping does not import beside a current PyTorch
names = type("TensorType", (), {"__class_getitem__": classmethod(lambda c, _: c)})
sys.modules["torchtyping"] = Fake(TensorType=names, patch_typeguard=lambda: None)
import stribor
import torch
saved, loaded = stribor.Permute(6), stribor.Permute(6)
loaded.load_state_dict(saved.state_dict())
print("wrong", loaded(torch.arange(6.0)[None]).tolist(), "right", saved(torch.arange(6.0)[None]).tolist())
