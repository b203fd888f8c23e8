"""A random intercept: one number, drawn once for a photograph, that makes all of its vessels more
or less likely. The result is a mixture of models."""

import copy
import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import NormalDist

import torch
from torch import Tensor

from cnf import noise
from cnf.arguments import Bound
from cnf.errors import ConfigError
from cnf.factorised import Bernoulli, Entrywise
from cnf.flow import ConditionalFlow, ConditionalModel, check_draws
from cnf.layers.autoregressive import AutoregressivePrior
from cnf.noise import Generator
from cnf.replication.scored.model import log_prob_inside
from cnf.replication.scored.variants import variant

INTERCEPTS = 9  # possible values of the random intercept
TABLE = Path(__file__).with_name("intercepts.jsonl")  # of photographs that were held out


class Wrapped(ConditionalModel):
    """A model with the properties of another one."""

    def __init__(self, model: ConditionalModel):
        super().__init__()
        self.config, self.layers = getattr(model, "config", None), getattr(model, "layers", ())
        self.exact, self.has_mean = model.exact, model.has_mean
        self.multiple, self.factor = model.multiple, model.factor
        self.labels = model.labels


class Mixture(Wrapped):
    r"""p(y|x) = 1/K sum_k p_k(y|x) of K models of one kind. For flows with noise this is the mean
    of K importance weights, a bound. Temperature is applied in each model. Shapes, nats and errors
    are those of `ConditionalModel`.

    Args:
        models: p_1 .. p_K, with equal weights.
    """

    def __init__(self, models: Sequence[ConditionalModel]):
        super().__init__(models[0])
        self.models = torch.nn.ModuleList(models)

    def condition(self, x: Tensor) -> list[Tensor]:
        return [h for model in self.models for h in model.condition(x)]

    def given(self, h: list[Tensor]) -> list[list[Tensor]]:
        """The part of h that belongs to each model."""
        maps = len(h) // len(self.models)
        return [h[k : k + maps] for k in range(0, len(h), maps)]

    def log_prob_given(self, y: Tensor, h: list[Tensor], generator: Generator = None) -> Tensor:
        pairs = zip(self.models, self.given(h), strict=True)
        return logmeanexp([model.log_prob_given(y, h_k, generator) for model, h_k in pairs])

    def log_prob_inside(
        self, y: Tensor, h: list[Tensor], size: tuple[int, int], generator: Generator = None
    ) -> Tensor:
        """log p(y|x) of pictures of `size` that were padded to y: each model leaves the padding
        out, if it can."""
        pairs = zip(self.models, self.given(h), strict=True)
        return logmeanexp([log_prob_inside(model, y, h_k, size, generator) for model, h_k in pairs])

    def sample_given(
        self, h: list[Tensor], n: int = 1, temperature: float = 1.0, generator: Generator = None
    ) -> Tensor:
        """For each sample a model is drawn, which draws the sample."""
        check_draws(temperature, n)
        batch = len(h[0])
        generator = noise.repeated(generator, n, batch)
        u = noise.uniform((n * batch, 1), generator, h[0]).flatten()
        components, samples = (len(self.models) * u).long().tolist(), {}
        for k, (model, h_k) in enumerate(zip(self.models, self.given(h), strict=True)):
            rows = [row for row, c in enumerate(components) if c == k]
            if rows:
                generator_k = generator
                if isinstance(generator, Sequence):
                    generator_k = [generator[row] for row in rows]
                h_of_rows = [maps[[row % batch for row in rows]] for maps in h_k]
                drawn = model.sample_given(h_of_rows, 1, temperature, generator_k)[0]
                samples |= zip(rows, drawn, strict=True)
        return torch.stack([samples[row] for row in range(n * batch)]).unflatten(0, (n, batch))

    @torch.no_grad()
    def samples(
        self, x: Tensor, n: int = 1, temperature: float = 1.0, generator: Generator = None
    ) -> Iterator[Tensor]:
        """All samples are drawn at once, so that each model is called once."""
        yield from self.sample(x, n, temperature, generator)

    def mean(self, x: Tensor, n: int = 32, generator: Generator = None) -> Tensor:
        if not self.has_mean:
            return super().mean(x, n, generator)
        return torch.stack([model.mean(x) for model in self.models]).mean(0)


def logmeanexp(terms: list[Tensor]) -> Tensor:
    return torch.stack(terms).logsumexp(0) - math.log(len(terms))


def shifted(model: ConditionalModel, by: float) -> ConditionalModel:
    """A copy of a vessel model in which `by` is added to every logit of vessel: for a Bernoulli
    model, an exact autoregressive model, or the log-odds of the two components of an autoregressive
    prior. Raises ConfigError for other models."""
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
                "a random intercept needs one logit of a vessel: give a Bernoulli or "
                "autoregressive model, or a flow with one autoregressive prior of two components"
            )
    return model


@variant("random_intercept/intercept")
def intercept(model: ConditionalModel, deviation: Bound) -> Mixture:
    """The model with a random intercept, :eq:`eq-connected-intercept`: a number that is drawn once
    for a picture is added to every logit of vessel. It takes INTERCEPTS equally likely values: the
    quantiles of a Gaussian of this deviation at the middles of equal parts, whose own deviation is
    0.93 of it. Raises ConfigError, see `shifted`."""
    return with_intercepts(model, NormalDist(0, deviation))


@variant("random_intercept/folds")
def folds(model: ConditionalModel) -> Mixture:
    """The same with the mean and the deviation of the table: nothing is chosen on test photographs.
    The table is of U-Nets, whose logits it is about."""
    lines = map(json.loads, TABLE.read_text("utf-8").splitlines())
    return with_intercepts(model, NormalDist.from_samples([line["intercept"] for line in lines]))


def with_intercepts(model: ConditionalModel, normal: NormalDist) -> Mixture:
    values = [normal.inv_cdf((k + 0.5) / INTERCEPTS) for k in range(INTERCEPTS)]
    return Mixture([shifted(model, value) for value in values])
