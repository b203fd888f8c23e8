import torch
from nflows.distributions import StandardNormal
from nflows.transforms import (
    ActNorm,
    AffineCouplingTransform,
    CompositeTransform,
    MultiscaleCompositeTransform,
    OneByOneConvolution,
    SqueezeTransform,
)
from torch import Tensor

from tools.bench.work import Adapter, ContextNet, Work


class Level(CompositeTransform):
    """nflows hands one context to all: this level takes its own."""

    def __init__(self, transforms: list, level: int):
        super().__init__(transforms)
        self.level = level

    def forward(self, inputs: Tensor, context: list[Tensor]) -> tuple[Tensor, Tensor]:
        return super().forward(inputs, context[self.level])

    def inverse(self, inputs: Tensor, context: list[Tensor]) -> tuple[Tensor, Tensor]:
        return super().inverse(inputs, context[self.level])


class Nflows(Adapter):
    """nflows 0.14: a MultiscaleCompositeTransform of SqueezeTransform, ActNorm,
    OneByOneConvolution and AffineCouplingTransform, with the features as context.

    Where it is not the work of the others:
    - The 1x1 convolution is stored as L and U after a fixed permutation, and has a bias: C more
      parameters a step. It multiplies twice on the way to z and solves two triangular systems on
      the way back; its log-determinant costs C operations. Its own choice, not a handicap of ours.
    - `Flow.log_prob` turns the context into one tensor; the features of three levels are none, so
      that its two lines (transform, then StandardNormal) are here. Same cost.
    - The scale of a coupling is a sigmoid. Same cost.
    """

    def __init__(self, work: Work):
        super().__init__(work)

        def net(in_channels: int, out_channels: int) -> ContextNet:
            return ContextNet(in_channels + work.features, out_channels, work.width)

        self.transform = MultiscaleCompositeTransform(work.levels)
        for level, (channels, side) in enumerate(work.shapes):
            mask = torch.cat([torch.zeros(channels - channels // 2), torch.ones(channels // 2)])
            steps = [SqueezeTransform()]
            for _ in range(work.depth):
                steps += [ActNorm(channels), OneByOneConvolution(channels)]
                steps.append(AffineCouplingTransform(mask, net))
            self.transform.add_transform(Level(steps, level), (channels, side, side))
        self.base = StandardNormal([work.channels * work.side**2])

    def encode(self, y: Tensor, h: list[Tensor]) -> list[Tensor]:
        return [self.transform(y, h)[0]]

    def decode(self, latents: list[Tensor], h: list[Tensor]) -> Tensor:
        return self.transform.inverse(latents[0], h)[0]

    def log_prob(self, y: Tensor, h: list[Tensor]) -> Tensor:
        z, log_det = self.transform(y, h)
        return self.base.log_prob(z) + log_det

    def sample(self, h: list[Tensor]) -> Tensor:
        return self.decode([self.base.sample(len(h[0])).to(h[0].dtype)], h)
