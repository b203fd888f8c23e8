"""The bound of a flow with an autoregressive prior, by the prior's own draws instead of the learned
noise."""

from typing import Any, cast

import torch
from torch import Tensor

from cnf import noise
from cnf.errors import ConfigError, ResultsError
from cnf.flow import ConditionalFlow, ConditionalModel
from cnf.layers import BinaryDequantization, Squeeze
from cnf.layers.autoregressive import AutoregressivePrior
from cnf.noise import Generator
from cnf.replication import plugs
from cnf.replication.scored.variants import variant

mixtures = plugs.plug("random_intercept")
LAYERS = [BinaryDequantization, Squeeze, AutoregressivePrior]
FARTHEST = -37.0  # deviations; the normal distribution of float64 has nothing beyond


class Sequential(mixtures.Wrapped):
    r"""log P(y|x) of a binary flow without couplings, whose last prior draws z one number after the
    other. Each is drawn from the prior as given the numbers before, but on the side of the
    threshold where its label is; the weight is the product of the sides' masses:

        log w = sum_i log P(side of y_i | z_<i, x),   z_i ~ p(z_i | z_<i, x) on the side of y_i

    :eq:`eq-deq-sequential` (Geweke, Hajivassiliou and Keane). w has mean P(y|x), so that log w, or
    the log of a mean of several w, is a lower bound in the mean, like that of learned noise, which
    is not used.

    Args:
        model: layers as in LAYERS.

    Raises: ConfigError for other layers; ResultsError for a draw that float64 cannot make.
    """

    def __init__(self, model: ConditionalModel):
        super().__init__(model)
        if [type(layer) for layer in self.layers] != LAYERS:
            raise ConfigError(
                "a sequential bound is of flows of binary noise, one squeeze and an "
                "autoregressive prior: give one, such as vessels-flow-ar-cpu-s0"
            )
        self.model = model
        self.prior = cast(AutoregressivePrior, self.layers[-1])

    def condition(self, x: Tensor) -> list[Tensor]:
        return self.model.condition(x)

    def sample_given(self, *args: Any, **kwargs: Any) -> Tensor:
        return cast(ConditionalFlow, self.model).sample_given(*args, **kwargs)

    def importance_log_prob(
        self, y: Tensor, x: Tensor, draws: int, generator: Generator = None
    ) -> Tensor:
        """log of the mean of so many w, (B,), nats."""
        h = self.condition(x)
        return mixtures.logmeanexp([self.log_prob_given(y, h, generator) for _ in range(draws)])

    @torch.no_grad()
    def log_prob_given(self, y: Tensor, h: list[Tensor], generator: Generator = None) -> Tensor:
        """log w, (B,), nats, of one draw of z."""
        side, _ = cast(Squeeze, self.layers[1])((2 * y - 1).double())  # -1 or 1
        which, where = (noise.uniform(side.shape, generator, side) for _ in range(2))
        log_w = torch.zeros(len(y), dtype=torch.float64, device=y.device)

        def choose(out: Tensor, channel: int, at: Any) -> Tensor:
            log_pi, mu, log_sigma = (t[:, 0].double() for t in self.prior.params(out[:, None]))
            sign, u, v = (t[:, channel][at] for t in (side, which, where))
            # how many deviations each component's mean lies within the label's side, (B, K, P)
            inside = sign[:, None] * (mu - 0.5) * (-log_sigma).exp()
            k, log_side = component(log_pi, inside, u)
            log_w.add_(log_side.sum(1))
            inside, log_sigma = (t.gather(1, k)[:, 0] for t in (inside, log_sigma))
            if inside.numel() and inside.min() < FARTHEST:
                raise ResultsError(
                    f"a label lies {-inside.min():.0f} deviations beyond the threshold, where "
                    "float64 cannot draw: score this model by its own noise, without --variant"
                )
            mass = torch.special.ndtr(inside)
            eps = -torch.special.ndtri((1 - v) * mass)  # above -inside; v is below 1
            distance = (eps + inside) * log_sigma.exp()
            return (0.5 + sign * distance).to(out.dtype)

        self.prior.net.sample_sequentially(h[1].to(self.prior.net.last.weight.dtype), choose)
        return log_w


def component(log_pi: Tensor, inside: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
    """The component of a mixture that a draw from one side comes from, (B, 1, P), and the log-mass
    of that side, (B, P).

    Args:
        log_pi: weights of the components, (B, K, P). inside: how many deviations each one's mean
            lies within the side, as log_pi. u: uniform numbers, (B, P).
    """
    log_mass = log_pi + torch.special.log_ndtr(inside)
    log_side = log_mass.logsumexp(1, keepdim=True)
    k = ((log_mass - log_side).exp().cumsum(1) < u[:, None]).sum(1, keepdim=True)
    # what rounding leaves of the sum below 1
    return k.clamp(max=log_pi.shape[1] - 1), log_side[:, 0]


@variant("sequential_bound/sequential")
def sequential(model: ConditionalModel) -> Sequential:
    """The model, scored by sequential weights, see `Sequential`."""
    return Sequential(model)
