"""A vessel model at a reduced temperature, as a model of its own, with likelihood and samples."""

import copy
import math
from collections.abc import Callable

import torch
from torch import Tensor

from cnf.errors import ConfigError
from cnf.factorised import Bernoulli
from cnf.flow import ConditionalFlow, ConditionalModel
from cnf.layers.prior import GaussianPrior
from cnf.layers.split import Split
from cnf.replication.scored.variants import variant


def cooled(model: ConditionalModel, temperature: float) -> ConditionalModel:
    """A copy of a model whose samples at temperature 1 are those of the model at `temperature` > 0.

    Bernoulli: every probability p becomes p^(1/t) / (p^(1/t) + (1-p)^(1/t)), because the logit is
    divided by t. A flow: every deviation of its Gaussian priors is multiplied by t. Raises
    ConfigError for other models, whose temperature is not one number times a scale.
    """
    model = copy.deepcopy(model)
    if type(model) is Bernoulli:
        with torch.no_grad():
            for parameter in model.head.parameters():
                parameter /= temperature
        return model
    priors = [part for part in model.modules() if isinstance(part, (GaussianPrior, Split))]
    if not (isinstance(model, ConditionalFlow) and priors):
        raise ConfigError(
            "a temperature that has a likelihood needs a Bernoulli model, or a flow with Gaussian "
            "priors: leave --variant out"
        )
    for prior in priors:
        prior.params = narrowed(prior.params, math.log(temperature))
    return model


def narrowed(params: Callable[..., tuple[Tensor, Tensor]], by: float) -> Callable:
    """The parameters of a Gaussian prior with `by` added to every log sigma."""

    def changed(*arguments: Tensor | None, **named: Tensor) -> tuple[Tensor, Tensor]:
        mu, log_sigma = params(*arguments, **named)
        return mu, log_sigma + by

    return changed


# one name each, as a run has one variant


@variant("baseline_temperature/t08")
def four_fifths(model: ConditionalModel) -> ConditionalModel:
    return cooled(model, 0.8)


@variant("baseline_temperature/t05")
def half(model: ConditionalModel) -> ConditionalModel:
    return cooled(model, 0.5)


@variant("baseline_temperature/t00")
def nearly_zero(model: ConditionalModel) -> ConditionalModel:
    """A sample is the most likely label of each pixel, or the image of the means of the priors."""
    return cooled(model, 1e-6)
