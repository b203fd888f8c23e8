"""The mean of a model over the eight orientations of a picture: its turns and mirrorings."""

import torch
from torch import Tensor

from cnf import noise
from cnf.factorised import Factorised
from cnf.flow import ConditionalModel, check_draws
from cnf.noise import Generator
from cnf.replication import plugs
from cnf.replication.scored.variants import variant

mixtures = plugs.plug("random_intercept")
VIEWS = tuple((quarters, mirrored) for mirrored in (False, True) for quarters in range(4))


def turned(t: Tensor, view: tuple[int, bool]) -> Tensor:
    """(..., H, W) turned by quarters, counter-clockwise, then mirrored left-right."""
    quarters, mirrored = view
    t = t.rot90(quarters, (-2, -1))
    return t.flip(-1) if mirrored else t


def back(t: Tensor, view: tuple[int, bool]) -> Tensor:
    """The inverse of `turned`."""
    quarters, mirrored = view
    return (t.flip(-1) if mirrored else t).rot90(-quarters, (-2, -1))


class View(mixtures.Wrapped):
    """p(g y | g x), where g turns or mirrors the picture. This is a density of y, because g only
    moves its entries."""

    def __init__(self, model: ConditionalModel, view: tuple[int, bool]):
        super().__init__(model)
        self.model, self.view = model, view

    def condition(self, x: Tensor) -> list[Tensor]:
        return self.model.condition(turned(x, self.view))

    def log_prob_given(self, y: Tensor, h: list[Tensor], generator: Generator = None) -> Tensor:
        return self.model.log_prob_given(turned(y, self.view), h, generator)

    def entries(self, y: Tensor, h: list[Tensor]) -> Tensor:
        return back(self.model.entries(turned(y, self.view), h), self.view)

    def sample_given(
        self, h: list[Tensor], n: int = 1, temperature: float = 1.0, generator: Generator = None
    ) -> Tensor:
        return back(self.model.sample_given(h, n, temperature, generator), self.view)

    def mean(self, x: Tensor, n: int = 32, generator: Generator = None) -> Tensor:
        return back(self.model.mean(turned(x, self.view), n, generator), self.view)


class FactorisedMixture(mixtures.Mixture):
    """The mean of factorised models, entry by entry, which is factorised again."""

    def entries(self, y: Tensor, h: list[Tensor]) -> Tensor:
        """log P of every entry of y given h, nats, (B, C, H, W)."""
        pairs = zip(self.models, self.given(h), strict=True)
        return mixtures.logmeanexp([model.entries(y, h_k) for model, h_k in pairs])

    def log_prob_given(self, y: Tensor, h: list[Tensor], generator: Generator = None) -> Tensor:
        return self.entries(y, h).flatten(1).sum(1)

    def sample_given(
        self, h: list[Tensor], n: int = 1, temperature: float = 1.0, generator: Generator = None
    ) -> Tensor:
        """For each entry a model is drawn, and the entry is taken from its sample."""
        check_draws(temperature, n)
        generator = noise.repeated(generator, n, len(h[0]))
        repeated_h = self.given([maps.repeat(n, 1, 1, 1) for maps in h])
        samples = []
        for model, h_k in zip(self.models, repeated_h, strict=True):
            samples.append(model.sample_given(h_k, 1, temperature, generator)[0])
        samples = torch.stack(samples)
        u = noise.uniform(samples[0].shape, generator, samples)
        component = (len(self.models) * u).long()[None]
        return samples.gather(0, component)[0].unflatten(0, (n, -1))


@variant("orientations/oriented")
def oriented(model: ConditionalModel) -> ConditionalModel:
    """The mean of a model over the eight orientations of the picture, :eq:`eq-controls-oriented`;
    factorised if the model is. If the model is exact, a turned picture has the same likelihood."""
    kind = FactorisedMixture if isinstance(model, Factorised) else mixtures.Mixture
    return kind([View(model, view) for view in VIEWS])
