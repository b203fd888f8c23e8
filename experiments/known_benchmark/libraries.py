"""Entries of other libraries: densities of the 64 numbers v that noise makes of y."""

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cnf import known
from cnf.replication import plugs

Entry = plugs.module("known_benchmark", "own").Entry
SIZE, CONTEXT, HIDDEN = known.SIZE, 2 * known.SIZE, 128
FAR = 5.0  # standard deviations of half-line noise from the threshold
SPREAD = 1 / math.hypot(FAR, 1)  # v then has variance 1, if labels are balanced


def normal(t: Tensor) -> Tensor:
    return -0.5 * t.square() - 0.5 * math.log(2 * math.pi)


def uniform(y: Tensor, levels: int) -> tuple[Tensor, Tensor]:
    """v in (-3, 3), of the shape of y (n, 64), and -log q(v|y) in nats, (n,)."""
    v = 6 * (y + torch.rand_like(y)) / levels - 3
    return v, torch.full_like(y[:, 0], SIZE * math.log(6 / levels))


def half_line(y: Tensor, levels: int) -> tuple[Tensor, Tensor]:
    """The same of labels, by the noise of this package's flows of labels: |N(5, 1)|, with the sign
    of the label, and scaled to variance 1 if labels are balanced."""
    if levels != 2:
        raise ValueError(f"half-line noise is for labels: choose a task of 2 levels, not {levels}")
    far = (FAR + torch.randn_like(y)).abs()
    log_q = torch.logaddexp(normal(far - FAR), normal(far + FAR)) - math.log(SPREAD)
    return (2 * y - 1) * far * SPREAD, -log_q.sum(1)


NOISES = {"uniform": uniform, "half-line": half_line}


class Dequantized(Entry):
    """log P(y|x) is at least the mean over the noise of log p(v|x) - log q(v|y). More than two
    levels have uniform noise."""

    bound, draws, noise = True, 16, "half-line"

    def __init__(self, levels: int):
        super().__init__()
        self.levels = levels
        if levels > 2:
            self.noise = "uniform"

    def with_noise(self, y: Tensor) -> tuple[Tensor, Tensor]:
        return NOISES[self.noise](y.float().flatten(1), self.levels)

    def density(self, v: Tensor, x: Tensor) -> Tensor:
        """log p(v|x), nats, (n,), of v (n, 64) given x (n, 128)."""
        raise NotImplementedError

    def log_prob(self, y: Tensor, x: Tensor) -> Tensor:
        v, cost = self.with_noise(y)
        return self.density(v, x.flatten(1)) + cost


class ZukoSpline(Dequantized):
    noise = "uniform"

    def __init__(self, levels: int):
        import zuko

        super().__init__(levels)
        self.flow = zuko.flows.NSF(SIZE, CONTEXT, transforms=2, hidden_features=(HIDDEN,))

    def density(self, v: Tensor, x: Tensor) -> Tensor:
        return self.flow(x).log_prob(v)


class NflowsAutoregressive(Dequantized):
    noise = "uniform"

    def __init__(self, levels: int):
        from nflows.distributions import StandardNormal
        from nflows.flows import Flow
        from nflows.transforms import CompositeTransform, MaskedAffineAutoregressiveTransform

        super().__init__(levels)
        steps = [
            MaskedAffineAutoregressiveTransform(SIZE, HIDDEN, CONTEXT, num_blocks=1)
            for _ in range(2)
        ]
        self.flow = Flow(CompositeTransform(steps), StandardNormal([SIZE]))

    def density(self, v: Tensor, x: Tensor) -> Tensor:
        return self.flow.log_prob(v, context=x)


class NormflowsSpline(Dequantized):
    def __init__(self, levels: int):
        import normflows as nf

        super().__init__(levels)
        steps: list[nn.Module] = []
        for n in range(4):
            steps.append(
                nf.flows.CoupledRationalQuadraticSpline(
                    SIZE, 1, HIDDEN, num_context_channels=CONTEXT, reverse_mask=n % 2 == 1
                )
            )
        base = nf.distributions.DiagGaussian(SIZE, trainable=False)
        self.flow = nf.ConditionalNormalizingFlow(base, steps)

    def density(self, v: Tensor, x: Tensor) -> Tensor:
        return self.flow.log_prob(v, context=x)


class FreiaCouplings(Dequantized):
    def __init__(self, levels: int):
        from FrEIA.framework import SequenceINN
        from FrEIA.modules import AllInOneBlock

        super().__init__(levels)
        self.flow = SequenceINN(SIZE)
        for _ in range(8):
            self.flow.append(
                AllInOneBlock, cond=0, cond_shape=(CONTEXT,), subnet_constructor=perceptron
            )

    def density(self, v: Tensor, x: Tensor) -> Tensor:
        z, log_det = self.flow(v, c=[x])
        return normal(z).sum(1) + log_det


def perceptron(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, outputs))


class Velocity(nn.Module):
    """The velocity of 64 numbers at time t, given x, by three layers."""

    def __init__(self, width: int = 2 * HIDDEN):
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(SIZE + 2 + CONTEXT, width),
            nn.SiLU(),
            nn.Linear(width, width),
            nn.SiLU(),
            nn.Linear(width, SIZE),
        )

    def forward(self, x: Tensor, t: Tensor, context: Tensor) -> Tensor:
        angle = t.expand(len(x))[:, None] * math.pi
        return self.net(torch.cat([x, angle.sin(), angle.cos(), context], dim=1))


class FlowMatching(Dequantized):
    """The likelihood is that of the library's solver, with a step size, as its default is one Euler
    step, and with the exact divergence."""

    draws, step = 1, 0.1

    def __init__(self, levels: int):
        from flow_matching.path import AffineProbPath
        from flow_matching.path.scheduler import CondOTScheduler
        from flow_matching.solver import ODESolver

        super().__init__(levels)
        self.velocity, self.path = Velocity(), AffineProbPath(scheduler=CondOTScheduler())
        self.solver = ODESolver(velocity_model=self.velocity)

    def loss(self, y: Tensor, x: Tensor) -> Tensor:
        v, _ = self.with_noise(y)
        at = self.path.sample(x_0=torch.randn_like(v), x_1=v, t=torch.rand(len(v)))
        return F.mse_loss(self.velocity(at.x_t, at.t, x.flatten(1)), at.dx_t)

    def density(self, v: Tensor, x: Tensor) -> Tensor:
        options: dict[str, Any] = {"step_size": self.step, "method": "midpoint"}
        parts = [
            self.solver.compute_likelihood(
                some, lambda z: normal(z).sum(1), exact_divergence=True, context=given, **options
            )[1]
            for some, given in zip(v.split(500), x.split(500), strict=True)
        ]
        return torch.cat(parts).detach()

    def finer(self) -> None:
        self.step /= 2


ENTRIES: dict[str, tuple[str, Callable[[int], Entry]]] = {
    "spline flow": ("zuko", ZukoSpline),
    "masked autoregressive flow": ("nflows", NflowsAutoregressive),
    "spline couplings": ("normflows", NormflowsSpline),
    "affine couplings": ("FrEIA", FreiaCouplings),
    "flow matching by a perceptron": ("flow_matching", FlowMatching),
}
