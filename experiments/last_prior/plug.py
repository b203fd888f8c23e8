"""The vessel flow with other last priors, and with couplings that do not see x."""

from typing import Literal

import torch
from torch import Tensor, nn

from cnf.arguments import Count, Positive
from cnf.features import Spec, channels_of
from cnf.flow import ConditionalFlow
from cnf.glow import GlowConfig, dequantization, features_of, prior, split, steps
from cnf.layers.prior import GaussianPrior
from cnf.layers.squeeze import Squeeze
from cnf.noise import Generator
from cnf.weights import kind


class PriorFirst(ConditionalFlow):
    """A flow of which, for the first `alone` steps of training, the last prior and the features
    learn and nothing else."""

    def __init__(self, layers, features: nn.Module, alone: int):
        super().__init__(layers, features)
        self.alone = alone
        self.register_buffer("steps_done", torch.tensor(0))

    def loss(
        self, y: Tensor, x: Tensor, generator: Generator = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        if self.training:
            for layer in self.layers[:-1]:
                layer.requires_grad_(bool(self.steps_done >= self.alone))
            self.steps_done += 1
        return super().loss(y, x, generator)


@kind("last_prior/flow")
def flow(
    channels: Positive,
    bins: Positive,
    features: Spec,
    options: GlowConfig,
    last: Literal["conditional", "fixed"] = "conditional",
    alone: Count = 0,
    couplings_see_x: bool = True,
) -> ConditionalFlow:
    """`glow`, whose last prior may be N(0, I), or learn `alone` at first, and whose couplings may
    not see x."""
    network = features_of(options, features)
    h, c = channels_of(network), channels
    stack = [dequantization(options, c, h[0], bins)]
    for level in range(1, options.levels + 1):
        stack.append(Squeeze())
        c *= 4
        stack += steps(options, c, h[level] if couplings_see_x else 0)
        if level < options.levels:
            stack.append(split(options, c, h[level]))
            c -= c // 2
    if last == "fixed":
        stack.append(GaussianPrior(c, None, options.prior_scale))
    else:
        stack.append(prior(options, c, h[options.levels]))
    return PriorFirst(stack, network, alone) if alone else ConditionalFlow(stack, network)
