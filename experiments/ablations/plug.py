"""The super-resolution flow without one of the ways in which it depends on x."""

from typing import Literal

from cnf.arguments import Positive
from cnf.features import Spec, build_features, channels_of
from cnf.flow import ConditionalFlow
from cnf.glow import GlowConfig, prior, split, steps
from cnf.layers.prior import GaussianPrior
from cnf.layers.split import Split
from cnf.layers.squeeze import Squeeze
from cnf.replication.models import subband_start
from cnf.weights import kind


def fixed(layer: Split | GaussianPrior) -> Split | GaussianPrior:
    """The layer with N(0, I) in place of its conditional prior."""
    layer.net = None
    return layer


@kind("ablations/flow")
def flow(
    channels: Positive,
    bins: Positive,
    features: Spec,
    options: GlowConfig,
    prior_sees: Literal["conditional", "blind", "fixed"] = "conditional",
    couplings_see_x: bool = True,
) -> ConditionalFlow:
    """`subband-flow` with split priors that do not see x ("blind"), with all priors N(0, I)
    ("fixed"), or with couplings that do not see x."""
    network = build_features(features, options.levels, carry=True)
    h, c = channels_of(network), 3 * channels
    h_of_splits = h if prior_sees == "conditional" else [0] * len(h)
    start = subband_start(options, channels, [h[0], *h_of_splits[1:]], bins)
    stack = [*start[:-1], fixed(start[-1]) if prior_sees == "fixed" else start[-1]]
    for level in range(1, options.levels + 1):
        if level > 1:
            stack.append(Squeeze())
            c *= 4
        stack += steps(options, c, h[level] if couplings_see_x else 0)
        if level < options.levels:
            split_prior = split(options, c, h_of_splits[level])
            stack.append(fixed(split_prior) if prior_sees == "fixed" else split_prior)
            c -= c // 2
    last = prior(options, c, h[options.levels])
    stack.append(fixed(last) if prior_sees == "fixed" else last)
    return ConditionalFlow(stack, network)
