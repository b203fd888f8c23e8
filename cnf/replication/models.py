"""The flows of this replication that are not the paper's own: the pieces of `cnf.glow`, with other
layers between and around them."""

from cnf.arguments import Bound, Count, Positive
from cnf.errors import ConfigError
from cnf.features import Features, Spec, build_features, channels_of
from cnf.flow import ConditionalFlow, Layer
from cnf.glow import GlowConfig, dequantization, prior, split, steps
from cnf.layers.actnorm import ActNorm
from cnf.layers.autoregressive import AutoregressivePrior
from cnf.layers.residual import Residual
from cnf.layers.squeeze import Squeeze
from cnf.layers.subbands import Subbands
from cnf.nets import CausalNet
from cnf.replication import plugs
from cnf.weights import KINDS, kind


def load(kind: str) -> None:
    """Make sure that a kind is registered: by the library, here, or by the plug of the experiment
    that owns it. Raises ConfigError if there is no such experiment."""
    from cnf import factorised, vectors  # noqa: F401

    owner, slash, _ = kind.partition("/")
    if slash and kind not in KINDS:
        plugs.plug(owner)


def autoregressive(
    c: int, h: int, width: int, blocks: int, mixture: int, clip: float | None = None
) -> AutoregressivePrior:
    """An autoregressive prior of c channels."""
    return AutoregressivePrior(CausalNet(c, h, width, blocks, 3 * mixture, clip=clip))


def check_one_level(options: GlowConfig) -> None:
    """Raise ConfigError for another number of levels."""
    if options.levels != 1:
        raise ConfigError(
            f"levels = {options.levels}: this flow has one level before its autoregressive prior: "
            "set model.levels=1"
        )


def doubling(spec: Spec, levels: int) -> Features:
    """A feature network that carries the upsampled input. Raises ConfigError for one that does
    not."""
    network = build_features(spec, levels, carry=True)
    if network.factor != 2:
        raise ConfigError(
            f"features.kind = {spec['kind']} carries no upsampled input, which a flow in subbands "
            "subtracts: choose residual or rrdb"
        )
    return network


def subband_start(config: GlowConfig, channels: int, h: list[int], bins: int) -> list[Layer]:
    """The first layers of a flow on the residual in subbands. The upsampled input is subtracted and
    the residual multiplied by eight. Its low band, which x nearly determines, is factored out
    first; the detail, 3 `channels`, goes on."""
    c = 4 * channels
    low = split(config, c, h[1], kept=3 * channels, width=0)
    start = dequantization(config, channels, h[0], bins)
    return [start, Residual(8.0), Subbands(), ActNorm(c), low]


@kind("subband-flow")
def subband_flow(
    channels: Positive, bins: Positive, features: Spec, options: GlowConfig
) -> ConditionalFlow:
    """The super-resolution flow: the paper's levels and steps on the residual in subbands."""
    if not options.levels:
        raise ConfigError("levels = 0: a flow in subbands has at least 1")
    network = doubling(features, options.levels)
    h, c = channels_of(network), 3 * channels
    stack = subband_start(options, channels, h, bins)
    for level in range(1, options.levels + 1):
        if level > 1:
            stack.append(Squeeze())
            c *= 4
        stack += steps(options, c, h[level])
        if level < options.levels:
            stack.append(split(options, c, h[level]))
            c -= c // 2
    stack.append(prior(options, c, h[options.levels]))
    return ConditionalFlow(stack, network)


@kind("subband-autoregressive-flow")
def subband_autoregressive_flow(
    channels: Positive,
    bins: Positive,
    features: Spec,
    options: GlowConfig,
    ar_width: Positive = 128,
    ar_blocks: Count = 4,
    mixture: Positive = 4,
    ar_clip: Bound | None = None,
) -> ConditionalFlow:
    """One level of steps on the residual in subbands, then an autoregressive prior: a mixture of
    Gaussians for each number, from masked convolutions of those before it."""
    check_one_level(options)
    network = doubling(features, 1)
    h = channels_of(network)
    stack = subband_start(options, channels, h, bins)
    stack += steps(options, 3 * channels, h[1])
    stack.append(autoregressive(3 * channels, h[1], ar_width, ar_blocks, mixture, ar_clip))
    return ConditionalFlow(stack, network)


@kind("autoregressive-flow")
def autoregressive_flow(
    channels: Positive,
    bins: Positive,
    features: Spec,
    options: GlowConfig,
    ar_width: Positive = 64,
    ar_blocks: Count = 3,
    mixture: Positive = 2,
) -> ConditionalFlow:
    """The vessel flow with an autoregressive prior: dequantization, one squeeze, steps, prior."""
    check_one_level(options)
    network = build_features(features, 1, full=options.dequantization == "variational")
    h, c = channels_of(network), 4 * channels
    stack: list[Layer] = [dequantization(options, channels, h[0], bins), Squeeze()]
    stack += steps(options, c, h[1])
    stack.append(autoregressive(c, h[1], ar_width, ar_blocks, mixture))
    return ConditionalFlow(stack, network)
