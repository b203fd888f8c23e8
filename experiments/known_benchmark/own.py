"""Entries in plain PyTorch: independent levels, a mixture of them, an autoregressive network."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cnf import known


class Entry(nn.Module):
    """What is trained and scored. A `bound` is drawn `draws` times; the draws of probabilities are
    averaged, or with `mean_of_logs` their logarithms: where the logarithm itself is an estimate, as
    with Hutchinson's trace, the mean of the probabilities would be too high."""

    noise = "none"  # that makes real numbers of y
    bound = False
    draws = 1
    mean_of_logs = False

    def log_prob(self, y: Tensor, x: Tensor) -> Tensor:
        """nats, (n,), of y (n, 1, 8, 8) given x (n, 2, 8, 8)."""
        raise NotImplementedError

    def loss(self, y: Tensor, x: Tensor) -> Tensor:
        return -self.log_prob(y, x).mean() / known.SIZE


def convolutions(outputs: int, width: int = 32) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(2, width, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(width, width, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(width, outputs, 1),
    )


class Independent(Entry):
    """Independent levels given x, by three convolutions."""

    def __init__(self, levels: int):
        super().__init__()
        self.net = convolutions(levels)

    def logits(self, y: Tensor, x: Tensor) -> Tensor:
        return self.net(x)

    def log_prob(self, y: Tensor, x: Tensor) -> Tensor:
        return -F.cross_entropy(self.logits(y, x), y[:, 0].long(), reduction="none").sum((1, 2))


class Mixture(Entry):
    """The whole picture from one of eight models of independent levels; their weights see x."""

    parts = 8

    def __init__(self, levels: int):
        super().__init__()
        self.net = convolutions(self.parts * (levels + 1))

    def log_prob(self, y: Tensor, x: Tensor) -> Tensor:
        out = self.net(x).unflatten(1, (self.parts, -1))
        weights = out[:, :, -1].mean((2, 3)).log_softmax(1)
        level = y.long().expand(-1, self.parts, -1, -1)[:, :, None]
        log_p = out[:, :, :-1].log_softmax(2).gather(2, level)[:, :, 0]
        return (weights + log_p.sum((2, 3))).logsumexp(1)


class Causal(nn.Conv2d):
    """A convolution that sees what is above, on the left, and, unless `first`, the place itself."""

    def __init__(self, inputs: int, outputs: int, size: int, first: bool):
        super().__init__(inputs, outputs, size, padding=size // 2)
        mask, half = torch.zeros(size, size), size // 2
        mask[:half], mask[half, : half + (not first)] = 1, 1
        self.register_buffer("mask", mask, persistent=False)

    def forward(self, input: Tensor) -> Tensor:
        return self._conv_forward(input, self.weight * self.mask, self.bias)


class Autoregressive(Independent):
    """Each level given x and the levels before it: a small PixelCNN."""

    def __init__(self, levels: int, width: int = 32):
        super().__init__(levels)
        self.net = convolutions(width, width)
        self.levels, self.first = levels, Causal(levels, width, 5, first=True)
        self.second, self.out = Causal(width, width, 3, first=False), nn.Conv2d(width, levels, 1)

    def logits(self, y: Tensor, x: Tensor) -> Tensor:
        one_hot = F.one_hot(y[:, 0].long(), self.levels).movedim(-1, 1).float()
        hidden = F.relu(self.first(one_hot) + self.net(x))
        return self.out(F.relu(hidden + self.second(hidden)))
