"""The path of labels with half-line noise."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cnf.layers.base import sum_except_batch
from cnf.replication import plugs

paths = plugs.module("families", "paths")
FAR, SPREAD = 10.0, 2.0  # of half-line noise: labels are 5 standard deviations from the threshold


class LabelPath(paths.Path):
    """The same for v = M y + S eps of labels y = -1 or 1. The simple model is of independent labels
    given h, with logits from `head`; to these the network adds what it learns from x, and E[w | x]
    follows from the posterior mean of y, tanh(logit / 2 + M cos(phi) x / variance)."""

    M, S = FAR / math.hypot(FAR, SPREAD), SPREAD / math.hypot(FAR, SPREAD)

    def __init__(self, head: nn.Module, *args):
        super().__init__(*args)
        self.head = head

    def known(self, h: Tensor) -> Tensor:
        return self.head(None, h)

    def known_log_prob(self, v: Tensor, known: Tensor) -> Tensor:
        log_p = [
            F.logsigmoid(y * known) - 0.5 * ((v - y * self.M) / self.S).square() for y in (-1, 1)
        ]
        log_p = torch.logaddexp(*log_p) - math.log(self.S * math.sqrt(2 * math.pi))
        return sum_except_batch(log_p)

    def variance(self, phi: Tensor) -> Tensor:
        return (self.S * phi.cos()).square() + phi.sin().square()

    def of_label(self, y: Tensor, x: Tensor, phi: Tensor) -> Tensor:
        """E[w | x, y], linear in y."""
        shift = self.M * phi.cos()
        return phi.sin() / self.variance(phi) * self.M * (y - shift * x)

    def mean_w(self, x: Tensor, phi: Tensor, out: Tensor | None, known: Tensor) -> Tensor:
        logit = known.detach() if out is None else known.detach() + out
        y = torch.tanh(logit / 2 + self.M * phi.cos() * x / self.variance(phi))
        return self.of_label(y, x, phi)

    def target(self, v: Tensor, eps: Tensor, x: Tensor, phi: Tensor) -> Tensor:
        return self.of_label(v.sign(), x, phi)
