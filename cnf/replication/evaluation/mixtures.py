"""Mixtures of one trained model: over the eight orientations of a picture, and over a number that
is drawn once for a picture. Nothing is trained."""

import copy
import math
from collections.abc import Iterator, Sequence
from statistics import NormalDist

import torch
from torch import Tensor

from cnf import noise
from cnf.errors import ConfigError
from cnf.factorised import Bernoulli, Entrywise, Factorised
from cnf.flow import ConditionalFlow, ConditionalModel, check_draws
from cnf.layers.autoregressive import AutoregressivePrior
from cnf.noise import Generator

VIEWS = tuple((quarters, mirrored) for mirrored in (False, True) for quarters in range(4))
INTERCEPTS = 9  # values of the number that is drawn once for a picture


def turned(t: Tensor, view: tuple[int, bool]) -> Tensor:
    """(..., H, W) turned by quarters, counter-clockwise, then mirrored left-right."""
    quarters, mirrored = view
    t = t.rot90(quarters, (-2, -1))
    return t.flip(-1) if mirrored else t


def back(t: Tensor, view: tuple[int, bool]) -> Tensor:
    """The inverse of `turned`."""
    quarters, mirrored = view
    return (t.flip(-1) if mirrored else t).rot90(-quarters, (-2, -1))


class Wrapped(ConditionalModel):
    """A model that says of itself what another one does."""

    def __init__(self, model: ConditionalModel):
        super().__init__()
        self.config, self.layers = getattr(model, "config", None), getattr(model, "layers", ())
        self.exact, self.has_mean = model.exact, model.has_mean
        self.multiple, self.factor = model.multiple, model.factor
        self.labels = model.labels


class View(Wrapped):
    """p(g y | g x), g a turn or mirroring of the picture: g only moves entries of y, so this is a
    density of y."""

    def __init__(self, model: ConditionalModel, view: tuple[int, bool]):
        super().__init__(model)
        self.model, self.view = model, view

    def condition(self, x: Tensor) -> list[Tensor]:
        return self.model.condition(turned(x, self.view))

    def score(self, y: Tensor, h: list[Tensor], generator: Generator = None) -> Tensor:
        return self.model.score(turned(y, self.view), h, generator)

    def entries(self, y: Tensor, h: list[Tensor]) -> Tensor:
        return back(self.model.entries(turned(y, self.view), h), self.view)

    def draw(
        self, h: list[Tensor], n: int = 1, temperature: float = 1.0, generator: Generator = None
    ) -> Tensor:
        return back(self.model.draw(h, n, temperature, generator), self.view)

    def mean(self, x: Tensor, n: int = 32, generator: Generator = None) -> Tensor:
        return back(self.model.mean(turned(x, self.view), n, generator), self.view)


class Mixture(Wrapped):
    r"""p(y|x) = 1/K sum_k p_k(y|x) of K models of one kind. Of flows with noise, the mean of their
    K weights, a bound as with importance samples. Temperature is that of the terms. Shapes, nats
    and errors are those of `ConditionalModel`.

    Args:
        models: p_1 .. p_K, each given the same share.
    """

    def __init__(self, models: Sequence[ConditionalModel]):
        super().__init__(models[0])
        self.models = torch.nn.ModuleList(models)

    def condition(self, x: Tensor) -> list[Tensor]:
        return [h for model in self.models for h in model.condition(x)]

    def given(self, h: list[Tensor]) -> list[list[Tensor]]:
        """What each model made of x."""
        maps = len(h) // len(self.models)
        return [h[k : k + maps] for k in range(0, len(h), maps)]

    def score(self, y: Tensor, h: list[Tensor], generator: Generator = None) -> Tensor:
        pairs = zip(self.models, self.given(h), strict=True)
        return logmeanexp([model.score(y, of, generator) for model, of in pairs])

    def draw(
        self, h: list[Tensor], n: int = 1, temperature: float = 1.0, generator: Generator = None
    ) -> Tensor:
        """Each draw by a model of its own, chosen first."""
        check_draws(temperature, n)
        batch = len(h[0])
        generator = noise.repeated(generator, n, batch)
        u = noise.uniform((n * batch, 1), generator, h[0]).flatten()
        chosen, found = (len(self.models) * u).long().tolist(), {}
        for k, (model, of) in enumerate(zip(self.models, self.given(h), strict=True)):
            rows = [row for row, c in enumerate(chosen) if c == k]
            if rows:
                own = generator
                if isinstance(generator, Sequence):
                    own = [generator[row] for row in rows]
                some = [maps[[row % batch for row in rows]] for maps in of]
                found |= zip(rows, model.draw(some, 1, temperature, own)[0], strict=True)
        return torch.stack([found[row] for row in range(n * batch)]).unflatten(0, (n, batch))

    @torch.no_grad()
    def draws(
        self, x: Tensor, n: int = 1, temperature: float = 1.0, generator: Generator = None
    ) -> Iterator[Tensor]:
        """All drawn at once, so that each model draws its own together."""
        yield from self.sample(x, n, temperature, generator)

    def mean(self, x: Tensor, n: int = 32, generator: Generator = None) -> Tensor:
        if not self.has_mean:
            return super().mean(x, n, generator)
        return torch.stack([model.mean(x) for model in self.models]).mean(0)


class FactorisedMixture(Mixture):
    """The same entry by entry, of factorised models: factorised again."""

    def entries(self, y: Tensor, h: list[Tensor]) -> Tensor:
        """log P of every entry of y given h, nats, (B, C, H, W)."""
        pairs = zip(self.models, self.given(h), strict=True)
        return logmeanexp([model.entries(y, of) for model, of in pairs])

    def score(self, y: Tensor, h: list[Tensor], generator: Generator = None) -> Tensor:
        return self.entries(y, h).flatten(1).sum(1)

    def draw(
        self, h: list[Tensor], n: int = 1, temperature: float = 1.0, generator: Generator = None
    ) -> Tensor:
        """Each entry by a model of its own."""
        check_draws(temperature, n)
        generator = noise.repeated(generator, n, len(h[0]))
        many = self.given([maps.repeat(n, 1, 1, 1) for maps in h])
        pairs = zip(self.models, many, strict=True)
        drawn = torch.stack([model.draw(of, 1, temperature, generator)[0] for model, of in pairs])
        u = noise.uniform(drawn[0].shape, generator, drawn)
        chosen = (len(self.models) * u).long()[None]
        return drawn.gather(0, chosen)[0].unflatten(0, (n, -1))


def logmeanexp(terms: list[Tensor]) -> Tensor:
    return torch.stack(terms).logsumexp(0) - math.log(len(terms))


def oriented(model: ConditionalModel) -> Mixture:
    """The model over the eight orientations of the picture, :eq:`eq-controls-oriented`: factorised
    if the model is. An exact model says the same of a turned picture then."""
    kind = FactorisedMixture if isinstance(model, Factorised) else Mixture
    return kind([View(model, view) for view in VIEWS])


def shifted(model: ConditionalModel, by: float) -> ConditionalModel:
    """A copy of a model of vessels, `by` added to every logit of a vessel: of a Bernoulli model, of
    an exact autoregressive one, or to the log-odds of the two components of an autoregressive
    prior. Raises ConfigError for others."""
    model = copy.deepcopy(model)
    priors = [part for part in model.modules() if isinstance(part, AutoregressivePrior)]
    with torch.no_grad():
        if type(model) is Bernoulli:
            model.head.bias += by
        elif isinstance(model, Entrywise) and hasattr(model, "net"):
            model.net.last.bias += by
        elif isinstance(model, ConditionalFlow) and [p.mixture for p in priors] == [2]:
            priors[0].net.last.bias.view(-1, 3, 2)[:, 0, 1] += by
        else:
            raise ConfigError(
                "--intercept needs one logit of a vessel: give a Bernoulli or autoregressive "
                "model, or a flow with one autoregressive prior of two components"
            )
    return model


def with_intercept(model: ConditionalModel, sigma: float, over_views: bool = False) -> Mixture:
    """The model with a random intercept, :eq:`eq-connected-intercept`: a number drawn once for a
    picture is added to every logit of a vessel. It has INTERCEPTS values, equally likely, at the
    quantiles of a Gaussian of deviation sigma in the middle of as many parts (their own deviation
    is 0.93 sigma). Raises ConfigError, see `shifted`."""
    normal = NormalDist(0, sigma)
    values = [normal.inv_cdf((k + 0.5) / INTERCEPTS) for k in range(INTERCEPTS)]
    models = [shifted(model, value) for value in values]
    return Mixture([oriented(m) if over_views else m for m in models])
