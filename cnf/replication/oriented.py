"""A model averaged over the eight orientations of a picture."""

import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from cnf import noise
from cnf.baselines import Factorised
from cnf.flow import ConditionalModel, check_draws
from cnf.noise import Generator

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


class Oriented(ConditionalModel):
    r"""The mixture p(y|x) = 1/8 sum_g p_1(g y | g x) over the eight turns and mirrorings g of the
    picture, of a model p_1: g only moves entries, so each term is a density, and so is their mean.
    An exact mixture says the same of a turned picture; of a flow with noise the mean of the eight
    weights is a bound as with importance samples. Temperature is that of the terms.

    A mixture of whole pictures is not factorised; see `OrientedEntries` for models that are.
    """

    def __init__(self, model: ConditionalModel):
        super().__init__()
        self.model, self.config = model, model.config
        self.exact, self.has_mean = model.exact, model.has_mean
        self.multiple, self.factor = model.multiple, model.factor
        self.layers = getattr(model, "layers", ())

    def condition(self, x: Tensor) -> list[Tensor]:
        return [h for view in VIEWS for h in self.model.condition(turned(x, view))]

    def each(self, h: list[Tensor]) -> Iterator[tuple[tuple[int, bool], list[Tensor]]]:
        """(view, what the model made of x seen so)."""
        maps = len(h) // len(VIEWS)
        for i, view in enumerate(VIEWS):
            yield view, h[maps * i : maps * (i + 1)]

    def score(self, y: Tensor, h: list[Tensor], generator: Generator = None) -> Tensor:
        terms = [self.model.score(turned(y, view), of, generator) for view, of in self.each(h)]
        return torch.stack(terms).logsumexp(0) - math.log(len(VIEWS))

    def draw(
        self, h: list[Tensor], n: int = 1, temperature: float = 1.0, generator: Generator = None
    ) -> Tensor:
        """Each draw in a view of its own, drawn first."""
        check_draws(temperature, n)
        batch = len(h[0])
        generator = noise.repeated(generator, n, batch)
        u = noise.uniform((n * batch, 1), generator, h[0]).flatten()
        chosen, found = (len(VIEWS) * u).long().tolist(), {}
        for i, (view, of) in enumerate(self.each(h)):
            rows = [row for row, c in enumerate(chosen) if c == i]
            if rows:
                some = [maps[[row % batch for row in rows]] for maps in of]
                own = generator
                if isinstance(generator, Sequence):
                    own = [generator[row] for row in rows]
                v = back(self.model.draw(some, 1, temperature, own)[0], view)
                found |= dict(zip(rows, v, strict=True))
        return torch.stack([found[row] for row in range(n * batch)]).unflatten(0, (n, batch))

    def labels(self, v: Tensor) -> Tensor:
        return self.model.labels(v)

    def mean(self, x: Tensor, n: int = 32, generator: Generator = None) -> Tensor:
        if not self.has_mean:
            return super().mean(x, n, generator)
        means = [back(self.model.mean(turned(x, view)), view) for view in VIEWS]
        return torch.stack(means).mean(0)


class OrientedEntries(Oriented):
    """Of a factorised model: the mixture entry by entry, which is factorised again, and at least as
    likely on average as the mean over the views."""

    def entries(self, y: Tensor, h: list[Tensor]) -> Tensor:
        """log P of every entry of y given h, nats, (B, C, H, W)."""
        terms = [back(self.model.entries(turned(y, view), of), view) for view, of in self.each(h)]
        return torch.stack(terms).logsumexp(0) - math.log(len(VIEWS))

    def score(self, y: Tensor, h: list[Tensor], generator: Generator = None) -> Tensor:
        return self.entries(y, h).flatten(1).sum(1)

    def draw(
        self, h: list[Tensor], n: int = 1, temperature: float = 1.0, generator: Generator = None
    ) -> Tensor:
        """Each entry in a view of its own."""
        check_draws(temperature, n)
        generator = noise.repeated(generator, n, len(h[0]))
        many = [maps.repeat(n, 1, 1, 1) for maps in h]
        drawn = [
            back(self.model.draw(of, 1, temperature, generator)[0], view)
            for view, of in self.each(many)
        ]
        u = noise.uniform(drawn[0].shape, generator, drawn[0])
        chosen = (len(VIEWS) * u).long()[None]
        return torch.stack(drawn).gather(0, chosen)[0].unflatten(0, (n, -1))


def oriented(model: ConditionalModel) -> Oriented:
    """The mixture of a model over the eight orientations, factorised if the model is; of such a
    mixture itself."""
    if isinstance(model, Oriented):
        return model
    return (OrientedEntries if isinstance(model, Factorised) else Oriented)(model)
