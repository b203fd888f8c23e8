"""A conditional flow of vectors in one line."""

from typing import Any, Literal

from torch import nn

from cnf import weights
from cnf.arguments import Bound, Count, Positive
from cnf.errors import ConfigError
from cnf.features import NoFeatures, RawFeatures
from cnf.flow import ConditionalFlow, Layer
from cnf.layers.actnorm import ActNorm
from cnf.layers.curve import Spline
from cnf.layers.prior import GaussianPrior
from cnf.layers.spline import AutoregressiveSpline, SplineCoupling
from cnf.nets import MaskedNet, VectorNet

Kind = Literal["autoregressive", "coupling"]


def vector_flow(
    features: int,
    context: int = 0,
    *,
    kind: Kind = "autoregressive",
    steps: int = 3,
    width: int = 64,
    bins: int = 8,
    bound: float = 4.0,
) -> ConditionalFlow:
    """A neural spline flow p(y|x) of vectors (Durkan et al. 2019), with untrained weights: steps of
    an activation norm and a layer that bends every number by a rational-quadratic spline, then a
    Gaussian whose mean and deviation depend on x.

    Args:
        features: how many numbers y has.
        context: how many numbers x has. 0: an unconditional p(y), where of x only the number of
            vectors counts, such as torch.empty(8, 0), and the last prior is N(0, I).
        kind: "autoregressive": every number sees those before it (`AutoregressiveSpline`), in the
            other order in every second step; a sample takes a pass a number. "coupling": half of
            the numbers see the other half (`SplineCoupling`), the halves in turn; samples are
            fast, and it takes about twice as many steps to move as much.
        steps: how many.
        width: hidden numbers in each of the two hidden layers of a network.
        bins: K, of every spline.
        bound: numbers beyond (-bound, bound) of what the norm makes of y pass a step unbent.

    Train it by -flow.log_prob(y, x).mean(); the first batch of training starts the norms. For
    `torch.distributions`, `flow.given(x)`.

    Shapes: y (B, features), x (B, context) -> log_prob (B,) in nats, sample (n, B, features).
    Raises ConfigError for a value that does not fit.

    >>> flow = vector_flow(features=2, context=3)
    >>> y, x = torch.randn(8, 2), torch.randn(8, 3)
    >>> flow.log_prob(y, x).shape, flow.sample(x, n=5).shape
    (torch.Size([8]), torch.Size([5, 8, 2]))
    """
    arguments: dict[str, Any] = {"features": features, "context": context, "kind": kind}
    arguments |= {"steps": steps, "width": width, "bins": bins, "bound": bound}
    flow = weights.build("vector-flow", arguments)
    assert isinstance(flow, ConditionalFlow)
    return flow


@weights.kind("vector-flow")
def described_vector_flow(
    features: Positive,
    context: Count = 0,
    kind: Kind = "autoregressive",
    steps: Count = 3,
    width: Positive = 64,
    bins: Positive = 8,
    bound: Bound = 4.0,
) -> ConditionalFlow:
    """`vector_flow` of arguments that a file can hold."""
    if kind == "coupling" and features < 2:
        raise ConfigError(
            f"kind = coupling with features = {features}: one number has no other half, so choose "
            "kind = autoregressive"
        )
    if kind == "autoregressive" and width < features:
        raise ConfigError(
            f"width = {width} with features = {features}: a number then could not see all before "
            f"it, so give width = {features} or more, or kind = coupling"
        )
    numbers, layers = Spline(bins, bound).numbers, list[Layer]()
    for k in range(steps):
        layers.append(ActNorm(features))
        flip = k % 2 == 1
        if kind == "autoregressive":
            net = MaskedNet(features, context, numbers, width)
            layers.append(AutoregressiveSpline(net, flip, bound))
        else:
            changed = features // 2
            half = VectorNet(features - changed, context, numbers * changed, width)
            layers.append(SplineCoupling(features, half, flip, bins, bound))
    last: nn.Module | None = VectorNet(0, context, 2 * features, width) if context else None
    layers.append(GaussianPrior(features, last))
    return ConditionalFlow(layers, RawFeatures(context) if context else NoFeatures())
