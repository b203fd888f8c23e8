"""flowtorch 0.8: Permute without a permutation draws one and does not save it.
Cause: bijectors/permute.py:33, a plain attribute. Matters: a loaded model permutes otherwise."""
import flowtorch.bijectors as bijectors
import torch

torch.manual_seed(0)
saved, loaded = (bijectors.Permute()(shape=torch.Size([6])) for _ in range(2))
x = torch.arange(6.0)[None]
right = torch.as_tensor(saved.forward(x)).tolist()
loaded.load_state_dict(saved.state_dict())
print("wrong", torch.as_tensor(loaded.forward(x)).tolist(), "right", right)
