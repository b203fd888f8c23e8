"""A loss that weighs the classes, which is no likelihood."""

from typing import Annotated

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from cnf.factorised import Bernoulli, at_full, check_beta, target
from cnf.features import Spec
from cnf.noise import Generator
from cnf.weights import kind


class ClassWeighted(Bernoulli):
    """A Bernoulli model trained by class-weighted cross-entropy, which is no likelihood.

    loss = -[beta y log p + (1 - beta) (1 - y) log(1 - p)], nats per pixel, p = sigmoid(a):
    :eq:`eq-fact-loss`; exp(-loss) is no distribution, :eq:`eq-fact-excess`. At given odds of a
    vessel, eta : 1 - eta, it is least where p has the odds beta eta : (1-beta) (1-eta),
    :eq:`eq-fact-odds`: p is the probability only for beta = 1/2, where the loss is half the
    cross-entropy. What is scored is the Bernoulli model with this p, so its bits show what the
    weights cost.

    Args:
        beta: in (0, 1); above 1/2 vessel pixels count more.
    """

    def __init__(self, features: nn.Module, beta: float):
        super().__init__(features)
        self.beta = check_beta(beta)

    def loss(
        self, y: Tensor, x: Tensor, generator: Generator = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        a = self.logit(x)
        y = target(self, y, 2, like=a)
        weights = y * self.beta + (1 - y) * (1 - self.beta)
        log_p = F.logsigmoid((2 * y - 1) * a)
        return -(weights * log_p).mean(), {"nats": -log_p.detach().mean()}


@kind("weighted_likelihood/class_weighted")
def class_weighted(
    features: Spec, beta: Annotated[float, Field(gt=0, lt=1)] = 0.5
) -> ClassWeighted:
    return ClassWeighted(at_full(features), beta)
