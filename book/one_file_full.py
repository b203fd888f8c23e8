"""The flow of one_file.py trained for 6,000 steps, and a model with independent pixels trained on
as many strokes by the same loop. `python one_file_full.py` trains both, ten minutes on one
core, and writes their weights and losses to one_file.safetensors; `load` reads them."""

from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import nn

if __package__:
    from book.one_file import Flow, network, train
else:
    from one_file import Flow, network, train

FILE = Path(__file__).with_name("one_file.safetensors")
STEPS, RATE, MEAN_OVER = 6_000, 2e-3, 100


class PerPixel(nn.Module):
    """One probability for each of the 16x16 labels, from x alone."""

    def __init__(self):
        super().__init__()
        self.net = network(1, 16)

    def logits(self, x):  # (B, 1, 4, 4) -> (B, 1, 16, 16)
        return F.pixel_shuffle(self.net(x), 4)

    def log_prob(self, y, x):
        cost = F.binary_cross_entropy_with_logits(self.logits(x), y, reduction="none")
        return -cost.flatten(1).sum(1)

    @torch.no_grad()
    def sample(self, x):
        return torch.bernoulli(self.logits(x).sigmoid())


MODELS = {"flow": Flow, "per_pixel": PerPixel}


def load(path=FILE):
    """(models, losses): by name; losses are bits per pixel, a mean over every 100 steps."""
    kept = load_file(path)
    losses = {name: kept.pop(f"{name}.losses") for name in MODELS}
    models = {name: make() for name, make in MODELS.items()}
    for name, model in models.items():
        own = {k: t for k, t in kept.items() if k.startswith(f"{name}.")}
        model.load_state_dict({k.removeprefix(f"{name}."): t for k, t in own.items()})
        model.requires_grad_(False)
    return models, losses


def keep(models, losses, path=FILE):
    """Weights are kept in float16: they are read back into float32, rounded to three digits."""
    kept = {f"{name}.losses": torch.as_tensor(found) for name, found in losses.items()}
    for name, model in models.items():
        for key, tensor in model.state_dict().items():
            half = tensor.half() if tensor.is_floating_point() else tensor
            kept[f"{name}.{key}"] = half.contiguous()
    save_file(kept, path)


if __name__ == "__main__":
    torch.set_num_threads(1)
    models, losses = {}, {}
    for name, make in MODELS.items():
        torch.manual_seed(0)
        models[name] = make()
        bits = torch.tensor(list(train(models[name], STEPS, rate=RATE)))
        losses[name] = bits.view(-1, MEAN_OVER).mean(1).tolist()
        print(f"{name}: {losses[name][-1]:.3f} bits per pixel")
    keep(models, losses)
