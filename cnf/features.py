"""The feature networks h = g(x): x -> [h[0] at y's resolution, h[l] after l squeezes]."""

from collections.abc import Mapping
from typing import Annotated, Any

import torch
import torch.nn.functional as F
from pydantic import AfterValidator
from torch import Tensor, nn

from cnf.arguments import Bound, Count, Positive, complete
from cnf.errors import ConfigError
from cnf.nets import Activation, Network, activate
from cnf.resample import consistent_double


class Features(Network):
    """h = g(x), a list. `channels[l]` counts the channels of h[l]; sizes of y must divide by
    `multiple`; `factor` is the size of y over the size of x; x must have `reads` channels, of
    values 0 to 255 if it is of `grey_levels`."""

    channels: list[int]
    reads: int | None = None
    grey_levels = False
    multiple = 1
    factor = 1


def channels_of(features: nn.Module) -> list[int]:
    """The channels of h at each level, as the network says. Raises ValueError if it does not."""
    channels = getattr(features, "channels", None)
    if channels is None:
        raise ValueError(
            f"{type(features).__name__} does not say how many channels its maps have: set its "
            "attribute `channels`, such as [16, 32] for h[0] and h[1]"
        )
    return [channels] if isinstance(channels, int) else list(channels)


class NoFeatures(Features):
    """Maps with zero channels: an unconditional model p(y). Only the size of x counts,
    and of vectors their number."""

    def __init__(self, levels: int = 0):
        super().__init__()
        self.channels = [0] * (levels + 1)

    def forward(self, x: Tensor) -> list[Tensor]:
        levels = range(len(self.channels))
        return [x.new_zeros(len(x), 0, *(size >> n for size in x.shape[2:])) for n in levels]


class RawFeatures(Features):
    """x itself, averaged over 2x2 blocks once a level: for an x of few channels that needs no
    network. Vectors have one level."""

    def __init__(self, channels: int, levels: int = 0):
        super().__init__()
        self.channels, self.reads = [channels] * (levels + 1), channels

    def forward(self, x: Tensor) -> list[Tensor]:
        h = [x]
        for _ in self.channels[1:]:
            h.append(F.avg_pool2d(h[-1], 2))
        return h


def conv3x3(in_channels: int, out_channels: int) -> nn.Conv2d:
    return nn.Conv2d(in_channels, out_channels, 3, padding=1)


def upsampled(x: Tensor) -> Tensor:
    """Grey levels (B, 3, H, W) to the doubled picture that halves back to x, on the scale of v: the
    centre of each grey level's cell. What the flow then models sums to zero at low resolution, up
    to the noise of dequantization."""
    return (consistent_double(x) + 0.5) / 256


class ResidualBlock(nn.Module):
    """t + conv3x3(ReLU(conv3x3(t))), or SiLU; the second convolution starts small."""

    def __init__(self, channels: int, activation: Activation = "relu"):
        super().__init__()
        self.activation = activation
        self.first, self.second = conv3x3(channels, channels), conv3x3(channels, channels)
        with torch.no_grad():
            self.second.weight.mul_(0.1)

    def forward(self, t: Tensor) -> Tensor:
        return t + self.second(activate(self.first(t), self.activation))


class ResidualFeatures(Features):
    """A light residual network at x's resolution (EDSR-type), for x2 super-resolution.

    h[0] is the upsampled input (3 channels, for `Residual`), then `full` channels brought to y's
    resolution by a pixel shuffle; h[1] the network's output; h[l] a 2x2 convolution of h[l-1].

    With `fractions` the network also reads |x - round(x)|: 0 everywhere if x was rounded to 8 bits.
    With `clip` h[1] is clipped to (-clip, clip), so that what follows from it is bounded.

    Shapes: x (B, 3, H, W) grey levels -> h[0] (B, 3 + full, 2H, 2W), h[l] (B, channels, ...).
    """

    reads, factor, grey_levels = 3, 2, True

    def __init__(
        self,
        levels: int,
        channels: Positive = 64,
        blocks: Count = 4,
        full: int = 0,
        fractions: bool = False,
        clip: Bound | None = None,
        activation: Activation = "relu",
    ):
        super().__init__()
        self.fractions, self.clip = fractions, clip
        self.channels = [3 + full] + [channels] * levels
        self.multiple = 2 ** max(levels, 1)
        self.head = conv3x3(6 if fractions else 3, channels)
        self.body = nn.Sequential(*(ResidualBlock(channels, activation) for _ in range(blocks)))
        self.full = conv3x3(channels, 4 * full) if full else None
        self.down = nn.ModuleList(
            nn.Conv2d(channels, channels, 2, stride=2) for _ in range(levels - 1)
        )

    def forward(self, x: Tensor) -> list[Tensor]:
        seen = x / 256 - 0.5
        if self.fractions:
            seen = torch.cat([seen, 2 * (x - x.round()).abs()], dim=1)
        t = self.cast(self.head(seen))  # read in float32: bfloat16 would round x to 8 bits
        with self.autocast(x.device):
            trunk = self.body(t)
            if self.clip:
                trunk = trunk.clamp(-self.clip, self.clip)
            h = [trunk]
            for down in self.down:
                h.append(down(h[-1]))
            full = [F.relu(F.pixel_shuffle(self.full(trunk), 2))] if self.full is not None else []
        return [torch.cat([upsampled(x), *(t.to(x.dtype) for t in full)], dim=1), *h]


class DenseBlock(nn.Module):
    """Five densely connected convolutions with residual factor 0.2."""

    def __init__(self, channels: int, growth: int):
        super().__init__()
        self.convs = nn.ModuleList(
            conv3x3(channels + n * growth, growth if n < 4 else channels) for n in range(5)
        )

    def forward(self, t: Tensor) -> Tensor:
        seen = [t]
        for conv in self.convs[:-1]:
            seen.append(F.leaky_relu(conv(torch.cat(seen, 1)), 0.2))
        return t + 0.2 * self.convs[-1](torch.cat(seen, 1))


class RRDB(nn.Module):
    """Three dense blocks in a residual, factor 0.2."""

    def __init__(self, channels: int, growth: int):
        super().__init__()
        self.blocks = nn.Sequential(*(DenseBlock(channels, growth) for _ in range(3)))

    def forward(self, t: Tensor) -> Tensor:
        return t + 0.2 * self.blocks(t)


class RRDBFeatures(Features):
    """Residual-in-residual dense blocks, as in the first author's released code, for x2
    super-resolution; :eq:`eq-features-weights` counts the weights.

    h[0] at y's resolution (nearest x2, conv3x3, LeakyReLU); h[l] a 2x2 stride-2 convolution of
    h[l-1]. The three convolutions that the released network never uses are left out. With `carry`,
    the upsampled input comes first in h[0].

    Shapes: x (B, 3, H, W) grey levels -> h[l] (B, channels, 2H / 2^l, 2W / 2^l).
    """

    reads, factor, grey_levels = 3, 2, True

    def __init__(
        self,
        levels: int,
        channels: Positive = 128,
        blocks: Positive = 16,
        growth: Positive = 32,
        carry: bool = False,
    ):
        super().__init__()
        self.carry = carry
        self.channels = [channels + 3 * carry] + [channels] * levels
        self.multiple = 2 ** max(levels, 1)
        self.head = conv3x3(3, channels)
        self.body = nn.Sequential(*(RRDB(channels, growth) for _ in range(blocks)))
        self.trunk = conv3x3(channels, channels)
        self.up = conv3x3(channels, channels)
        self.down = nn.ModuleList(nn.Conv2d(channels, channels, 2, stride=2) for _ in range(levels))

    def forward(self, x: Tensor) -> list[Tensor]:
        t = self.cast(self.head(x / 256))  # read in float32: bfloat16 would round x to 8 bits
        with self.autocast(x.device):
            t = t + self.trunk(self.body(t))
            h = [F.leaky_relu(self.up(F.interpolate(t, scale_factor=2, mode="nearest")), 0.2)]
            for down in self.down:
                h.append(down(h[-1]))
        if self.carry:
            h[0] = torch.cat([upsampled(x), h[0].to(x.dtype)], dim=1)
        return h


class UNetFeatures(Features):
    """A small U-Net on the fundus photograph: h[l] is the decoder's map at scale l.

    Channels double at every scale; each block is twice (conv3x3, batch norm, ReLU).

    Shapes: x (B, 3, H, W) grey levels 0..255 -> h[l] (B, channels 2^l, H / 2^l, W / 2^l).
    """

    reads, grey_levels = 3, True

    def __init__(self, levels: int, channels: Positive = 16, scales: Positive = 3):
        super().__init__()
        if levels >= scales:
            raise ConfigError(f"{levels} levels need a U-Net of at least {levels + 1} scales")
        widths = [channels * 2**n for n in range(scales)]
        self.channels, self.multiple = widths[: levels + 1], 2 ** (scales - 1)
        self.down = nn.ModuleList(
            self.block(c_in, c) for c_in, c in zip([3, *widths[:-1]], widths, strict=True)
        )
        self.lift = nn.ModuleList(nn.Conv2d(widths[n + 1], widths[n], 1) for n in range(scales - 1))
        self.up = nn.ModuleList(self.block(2 * c, c) for c in widths[:-1])

    @staticmethod
    def block(in_channels: int, channels: int) -> nn.Sequential:
        def half(c: int) -> list[nn.Module]:
            conv = nn.Conv2d(c, channels, 3, padding=1, bias=False)
            return [conv, nn.BatchNorm2d(channels), nn.ReLU()]

        return nn.Sequential(*half(in_channels), *half(channels))

    def forward(self, x: Tensor) -> list[Tensor]:
        with self.autocast(x.device):
            skips, t = [], x / 128 - 1
            for n, block in enumerate(self.down):
                t = block(F.max_pool2d(t, 2) if n else t)
                skips.append(t)
            h = [t]
            for n in reversed(range(len(self.up))):
                t = F.interpolate(self.lift[n](t), scale_factor=2, mode="nearest")
                t = self.up[n](torch.cat([skips[n], t], dim=1))
                h.append(t)
        return h[::-1][: len(self.channels)]


class VGGFeatures(Features):
    """torchvision's VGG-16 stages, joined from coarse to fine: h[l] is the map at scale l.

    The paper names a VGG-type extractor and no more, as far as we know. Weights start from scratch.

    Shapes: x (B, 3, H, W) grey levels 0..255 -> h[l] (B, channels, H / 2^l, W / 2^l).
    """

    reads, grey_levels = 3, True

    def __init__(self, levels: int, channels: Positive = 32, scales: Positive = 4):
        super().__init__()
        if not levels < scales <= 5:
            raise ConfigError(f"{scales} VGG scales for {levels} levels: need levels < scales <= 5")
        from torchvision.models import vgg  # takes a second, and few models need it

        widths = [64, 128, 256, 512, 512][:scales]
        config = vgg.cfgs["D"]  # vgg16() itself would also draw a classifier of 124 M weights
        end = [n for n, width in enumerate(config) if width == "M"][scales - 1]
        layers = vgg.make_layers(config[: end + 1])
        for p in layers.parameters():
            if p.dim() == 4:
                nn.init.kaiming_normal_(p, mode="fan_out", nonlinearity="relu")
            else:
                nn.init.zeros_(p)
        cuts = [0, *(n for n, layer in enumerate(layers) if isinstance(layer, nn.MaxPool2d))]
        self.stages = nn.ModuleList(layers[a:b] for a, b in zip(cuts, cuts[1:], strict=False))
        self.lateral = nn.ModuleList(nn.Conv2d(c, channels, 1) for c in widths)
        self.channels, self.multiple = [channels] * (levels + 1), 2 ** (scales - 1)

    def forward(self, x: Tensor) -> list[Tensor]:
        with self.autocast(x.device):
            maps, t = [], x / 128 - 1
            for stage, lateral in zip(self.stages, self.lateral, strict=True):
                t = stage(t)
                maps.append(lateral(t))
            h = [maps[-1]]
            for finer in maps[-2::-1]:
                h.append(finer + F.interpolate(h[-1], scale_factor=2, mode="nearest"))
        return h[::-1][: len(self.channels)]


# those that a configuration or a file can name
NETWORKS = {
    "residual": ResidualFeatures,
    "rrdb": RRDBFeatures,
    "unet": UNetFeatures,
    "vgg": VGGFeatures,
}
BY_THE_MODEL = ("levels", "full", "carry")  # what it decides, not who names the network


def check_spec(spec: Mapping[str, Any]) -> dict[str, Any]:
    """{"kind": one of NETWORKS, its sizes} with all sizes. Raises ConfigError."""
    sizes = dict(spec)
    kind = sizes.pop("kind", None)
    if not isinstance(kind, str) or kind not in NETWORKS:
        raise ConfigError(f"features.kind = {kind!r}: choose one of {', '.join(NETWORKS)}")
    try:
        return {"kind": kind, **complete(NETWORKS[kind], sizes, BY_THE_MODEL)}
    except ConfigError as error:
        raise ConfigError(f"{kind} features: {error}") from None


Spec = Annotated[dict[str, Any], AfterValidator(check_spec)]


def build_features(
    spec: Mapping[str, Any], levels: int, full: bool = False, carry: bool = False
) -> Features:
    """The feature network of a specification.

    Args:
        levels: of the flow that reads it.
        full: whether something at y's resolution reads more than the upsampled input.
        carry: whether the upsampled input must come first there.
    """
    sizes = check_spec(spec)
    kind = sizes.pop("kind")
    if kind == "residual":
        sizes["full"] = sizes["channels"] // 4 if full else 0
    if kind == "rrdb":
        sizes["carry"] = carry
    return NETWORKS[kind](levels, **sizes)
