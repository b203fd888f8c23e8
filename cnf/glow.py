"""The paper's flow: dequantization, L levels of K steps, split priors, a conditional prior.

Each piece is a function that returns layers, so that another flow is a list of such pieces and of
other layers.
"""

import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypedDict, Unpack

import torch
from pydantic import Field
from torch import nn

from cnf import weights
from cnf.arguments import Bound, Count, Positive, complete
from cnf.errors import ConfigError
from cnf.features import NoFeatures, RawFeatures, Spec, build_features, channels_of
from cnf.flow import ConditionalFlow, Layer
from cnf.layers.actnorm import ActNorm
from cnf.layers.affine import ConditionalAffine
from cnf.layers.base import Bijection, Dequantization
from cnf.layers.binary import BinaryDequantization
from cnf.layers.checkerboard import CheckerboardCoupling
from cnf.layers.conv1x1 import Conv1x1
from cnf.layers.coupling import AffineCoupling
from cnf.layers.prior import GaussianPrior
from cnf.layers.split import Split
from cnf.layers.squeeze import Squeeze
from cnf.layers.uniform import UniformDequantization
from cnf.layers.variational import VariationalDequantization
from cnf.nets import CouplingNet, VectorNet

BINS = 256  # grey levels of pictures of 8 bits
Q_WIDTH = 32  # of the network of q


@dataclass(frozen=True)
class GlowConfig:
    """What describes the paper's flow; the keywords of `cnf.glow`.

    Args:
        levels: L. Without levels nothing is squeezed: the steps couple the colours of a
            checkerboard, at the resolution of y, and of vectors two halves.
        steps: K, each an activation norm, an invertible 1x1 convolution and a conditional coupling.
        width: hidden channels of the network in a coupling.
        h_kernel: the size of its convolution of h.
        net: "conv" for pictures; "vector" for a y of vectors (B, D), where levels = 0.
        scale: of couplings and priors: "bounded" (log s within `max_log_scale`), "softplus", or
            "additive", s = 1, with bounded priors.
        flip: the halves of y take turns; if not, the second always changes. (Without levels the
            colours of a checkerboard take turns anyway.)
        gain: last convolutions have a learned gain, as in the released code.
        norm: "instance" normalises hidden maps of networks over the picture.
        clip: couplings read y_a clipped to (-clip, clip): what they answer to inputs far from all
            data is then bounded, given h.
        prior_width: hidden channels of the networks of priors; 0: they are one convolution.
        dequantization: None for a continuous y; "binary" for labels.
        noise: of the binary dequantization.
    """

    levels: Count = 2
    steps: Count = 8
    width: Positive = 64
    h_kernel: Literal[1, 3] = 1
    net: Literal["conv", "vector"] = "conv"
    scale: Literal["bounded", "softplus", "additive"] = "bounded"
    max_log_scale: Bound = 1.5
    flip: bool = False
    gain: bool = False
    norm: Literal["none", "instance"] = "none"
    clip: Bound | None = None
    prior_width: Count = 0
    dequantization: Literal["uniform", "variational", "binary"] | None = None
    noise: Literal["logistic", "gaussian"] = "logistic"

    @property
    def prior_scale(self) -> Literal["bounded", "softplus"]:
        """Of sigma."""
        return "softplus" if self.scale == "softplus" else "bounded"


class GlowOptions(TypedDict, total=False):
    """The fields of `GlowConfig` as keywords, so that tools find one that is misspelt."""

    levels: int
    steps: int
    width: int
    h_kernel: Literal[1, 3]
    net: Literal["conv", "vector"]
    scale: Literal["bounded", "softplus", "additive"]
    max_log_scale: float
    flip: bool
    gain: bool
    norm: Literal["none", "instance"]
    clip: float | None
    prior_width: int
    dequantization: Literal["uniform", "variational", "binary"] | None
    noise: Literal["logistic", "gaussian"]


READ_TWICE = "context = {} with features: these say what of x is read, so leave it out"


def glow(
    channels: int,
    context: int = 0,
    *,
    features: nn.Module | Mapping[str, Any] | None = None,
    bins: int = BINS,
    coupling: Callable[..., Bijection] | None = None,
    **options: Unpack[GlowOptions],
) -> ConditionalFlow:
    """A conditional Glow of p(y|x), with untrained weights: L levels of K steps.

    Args:
        channels: of y.
        context: channels of x, which is at the resolution of y and read as it is, averaged over 2x2
            blocks at every further level. 0: an unconditional p(y), where x gives only the size
            and the last prior is N(0, I).
        features: instead of that, a network of `cnf.features` by its name and sizes, such as
            {"kind": "unet", "channels": 16}; or any module h = features(x): it returns one map a
            level, at the resolution of y and then half as large each time, L + 1 in all, and says
            their `channels`, such as [16, 32]; also `multiple` and `factor` (see `Features`) where
            they are not 1.
        bins: grey levels of y, 0 .. bins - 1, for "uniform" and "variational" dequantization.
        coupling: a class in place of `AffineCoupling`, made as coupling(channels, net, flip=...);
            `coupling.outputs(changed)` is how many channels its network returns. Such a flow is
            loaded by cnf.load(path, into=flow).
        options: `levels`, `steps`, `width`, `dequantization` and the other fields of `GlowConfig`.
            By default 2 levels of 8 steps and a continuous y (dequantization=None).

    Shapes: y (B, channels, H, W), H and W multiples of the flow's `multiple`; x (B, context, H, W).
        Of vectors (net="vector", or better `vector_flow`) y (B, channels), x (B, context).
    Raises ConfigError for an option that does not fit or that nothing would read, ValueError for
        features that do not, TypeError for a size that is no whole number.

    >>> flow = glow(channels=1, context=2, levels=1, steps=4, width=32)
    >>> y, x = torch.rand(8, 1, 6, 6), torch.rand(8, 2, 6, 6)
    >>> flow.log_prob(y, x).shape, flow.sample(x, n=3).shape
    (torch.Size([8]), torch.Size([3, 8, 1, 6, 6]))
    >>> vectors = glow(channels=5, context=3, levels=0, net="vector")
    >>> vectors.log_prob(torch.randn(8, 5), torch.randn(8, 3)).shape
    torch.Size([8])
    """
    sizes = {"channels": channels, "context": context, "bins": bins}
    arguments = {name: operator.index(size) for name, size in sizes.items()} | dict(options)
    if coupling is None and not isinstance(features, nn.Module):
        named = {} if features is None else {"features": dict(features)}
        model = weights.build("glow", arguments | named)
        assert isinstance(model, ConditionalFlow)
        return model
    full = complete(described_glow, arguments)
    config = GlowConfig(**{name: full[name] for name in GlowConfig.__dataclass_fields__})
    if not isinstance(features, nn.Module):
        features = network_of(config, full["context"], features)
    elif full["context"]:
        raise ConfigError(READ_TWICE.format(full["context"]))
    stack = glow_layers(config, full["channels"], features, full["bins"], coupling=coupling)
    flow = ConditionalFlow(stack, features)
    flow.arguments = full | {"features": type(features).__name__}
    if coupling is not None:
        flow.arguments["coupling"] = getattr(coupling, "__name__", repr(coupling))
    return flow


@weights.kind("glow")
def described_glow(
    channels: Positive,
    options: GlowConfig,
    context: Count = 0,
    bins: Annotated[int, Field(ge=2)] = BINS,
    features: Spec | None = None,
) -> ConditionalFlow:
    """`glow` of arguments that a file can hold."""
    network = network_of(options, context, features)
    return ConditionalFlow(glow_layers(options, channels, network, bins), network)


def network_of(config: GlowConfig, context: int, spec: Mapping[str, Any] | None) -> nn.Module:
    """The feature network of a specification; x itself without one, or nothing."""
    if spec is not None and context:
        raise ConfigError(READ_TWICE.format(context))
    if spec is not None:
        return features_of(config, spec)
    return RawFeatures(context, config.levels) if context else NoFeatures(config.levels)


def features_of(config: GlowConfig, spec: Mapping[str, Any]) -> nn.Module:
    """The feature network of a flow, with channels at y's resolution where something works there:
    a variational q, or the steps of a flow without levels."""
    full = config.dequantization == "variational" or not config.levels
    return build_features(spec, config.levels, full)


def glow_layers(
    config: GlowConfig,
    channels: int,
    features: nn.Module,
    bins: int = BINS,
    q_width: int = Q_WIDTH,
    coupling: Callable[..., Bijection] | None = None,
) -> list[Layer]:
    """The layers of the paper's flow, from y to z. Raises ConfigError, ValueError."""
    h, c = channels_of(features), channels
    check_options(config, any(h), bins, coupling)
    if len(h) <= config.levels:
        raise ValueError(f"levels = {config.levels} needs {config.levels + 1} maps of the features")
    stack: list[Layer] = []
    if config.dequantization is not None:
        stack.append(dequantization(config, c, h[0], bins, q_width))
    if config.net == "vector":
        stack += steps(config, c, h[0], coupling)
    elif not config.levels:
        stack += flat_steps(config, c, h[0])
    for level in range(1, config.levels + 1):
        stack.append(Squeeze())
        c *= 4
        stack += steps(config, c, h[level], coupling)
        if level < config.levels:
            stack.append(split(config, c, h[level]))
            c -= c // 2
    stack.append(prior(config, c, h[config.levels]))
    return stack


def check_options(
    config: GlowConfig, has_features: bool, bins: int, coupling: Callable[..., Bijection] | None
) -> None:
    """Raise ConfigError for an option that is given and that nothing would read."""
    if config.net == "vector" and config.levels:
        raise ConfigError(
            f"levels = {config.levels} with net = vector: vectors have no space to squeeze, so "
            "give levels = 0"
        )
    if coupling is not None and config.net == "conv" and not config.levels:
        raise ConfigError(
            f"coupling = {coupling.__name__} with levels = 0: without levels the steps couple the "
            "colours of a checkerboard, so give levels = 1 or more"
        )
    q = f"dequantization = {config.dequantization}"
    unread = {None: [BINS], "binary": [BINS, 2]}  # by default, or said of labels, which have two
    if bins not in unread.get(config.dequantization, [bins]):
        raise ConfigError(f"bins = {bins} with {q}: nothing reads it, so leave it out")
    is_conv = config.net == "conv"
    reasons = [  # an option, whether it is read, what is given beside it, why it is not read then
        ("noise", config.dequantization == "binary", q, "it is that of the binary one"),
        *(
            (name, is_conv, "net = vector", "its network is none of convolutions")
            for name in ("clip", "norm", "gain", "h_kernel")
        ),
        ("h_kernel", has_features, "context = 0", "there is no h"),
        ("max_log_scale", coupling is None, "coupling", "a coupling has a scale of its own"),
        (
            "max_log_scale",
            config.scale == "bounded",
            f"scale = {config.scale}",
            "it is not bounded",
        ),
    ]
    for name, is_read, beside, reason in reasons:
        if not is_read and (value := getattr(config, name)) != getattr(GlowConfig, name):
            raise ConfigError(f"{name} = {value} with {beside}: {reason}, so leave it out")


def steps(
    config: GlowConfig, c: int, h: int, coupling: Callable[..., Bijection] | None = None
) -> list[Bijection]:
    """K times activation norm, invertible 1x1 convolution, conditional coupling, of c channels; by
    default affine couplings."""
    stack: list[Bijection] = []
    for k in range(config.steps):
        flip = config.flip and k % 2 == 1
        if coupling is None:
            net = coupling_net(config, c - c // 2, h, affine_outputs(config, c // 2))
            last: Bijection = AffineCoupling(c, net, config.scale, flip, config.max_log_scale)
        else:
            outputs = coupling.outputs(c // 2)  # type: ignore[attr-defined]
            last = coupling(c, coupling_net(config, c - c // 2, h, outputs), flip=flip)
        stack += [ActNorm(c), Conv1x1(c), last]
    return stack


def affine_outputs(config: GlowConfig, changed: int) -> int:
    """How many channels the network of an affine coupling returns."""
    return changed if config.scale == "additive" else AffineCoupling.outputs(changed)


def flat_steps(config: GlowConfig, c: int, h: int) -> list[Bijection]:
    """K steps of a flow without levels: nothing is squeezed, so a target of one channel has no half
    of its channels to condition on. The two colours of a checkerboard take that part, in turn."""
    stack: list[Bijection] = []
    for k in range(config.steps):
        net = coupling_net(config, c, h, affine_outputs(config, c))
        mixing = [Conv1x1(c)] if c > 1 else []
        coupling = CheckerboardCoupling(net, config.scale, k % 2 == 1, config.max_log_scale)
        stack += [ActNorm(c), *mixing, coupling]
    return stack


def coupling_net(config: GlowConfig, y: int, h: int, out: int) -> nn.Module:
    """The network inside a coupling, of y and h channels."""
    if config.net == "vector":
        return VectorNet(y, h, out, config.width)
    return CouplingNet(
        y, h, out, config.width, config.h_kernel, config.gain, config.clip, config.norm
    )


def prior_net(config: GlowConfig, y: int, h: int, leaves: int, width: int) -> nn.Module:
    """The network of a Gaussian prior of the channels that leave, from y that go on and h."""
    if config.net == "vector":
        return VectorNet(y, h, 2 * leaves, width)
    return CouplingNet(y, h, 2 * leaves, width, gain=config.gain, norm=config.norm)


def split(
    config: GlowConfig, c: int, h: int, kept: int | None = None, width: int | None = None
) -> Split:
    """A conditional split prior of c channels, by default of `prior_width`; half go on."""
    kept = c - c // 2 if kept is None else kept
    width = config.prior_width if width is None else width
    net = prior_net(config, kept, h, c - kept, width)
    return Split(c, net, config.prior_scale, kept)


def prior(config: GlowConfig, c: int, h: int) -> GaussianPrior:
    """The conditional prior of the c channels that are left; N(0, I) where there is no h."""
    net = prior_net(config, 0, h, c, config.prior_width) if h else None
    return GaussianPrior(c, net, config.prior_scale)


def dequantization(
    config: GlowConfig, c: int, h: int, bins: int, q_width: int = Q_WIDTH
) -> Dequantization:
    """The dequantization; q sees the features at y's resolution and y itself."""
    if config.dequantization == "uniform":
        return UniformDequantization(bins)
    if config.net == "vector":
        raise ConfigError(
            f"dequantization = {config.dequantization} with net = vector: q is for pictures, so "
            "choose uniform or none, or write the list of layers out"
        )
    net = CouplingNet(0, h + c, 2 * c, q_width, h_kernel=3)
    q = [ConditionalAffine(c, net)]
    if config.dequantization == "variational":
        return VariationalDequantization(q, bins)
    with torch.no_grad():  # far from the threshold and narrow: what follows can read the label
        net.last.bias[:c], net.last.bias[c:] = -1.0, 2.5  # type: ignore[index]
    return BinaryDequantization(q, config.noise)
