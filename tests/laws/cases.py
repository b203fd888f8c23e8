"""Every layer and every model once, with weights drawn at random: the lists the laws run over.

A new layer joins its list and inherits every law of its kind; `test_lists.py` fails until it does.
Untrained weights hide mistakes (a coupling that starts from zero is the identity), so `randomise`
moves every one of them.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributions import Categorical, MixtureSameFamily, Normal

import cnf
from cnf.features import NoFeatures, RawFeatures
from cnf.flow import ConditionalFlow, ConditionalModel
from cnf.layers import (
    ActNorm,
    AffineCoupling,
    AutoregressivePrior,
    AutoregressiveSpline,
    BinaryDequantization,
    CheckerboardCoupling,
    ConditionalAffine,
    Conv1x1,
    Dequantization,
    GaussianPrior,
    Prior,
    Residual,
    SplineCoupling,
    Split,
    Squeeze,
    Squeezed,
    Subbands,
    UniformDequantization,
    VariationalDequantization,
)
from cnf.nets import CausalNet, CouplingNet, MaskedNet, VectorNet
from cnf.noise import keyed
from cnf.replication.config import Config, build, from_dict
from cnf.testing import Report

FEATURES = 4  # channels of h in the layer cases


def randomise(module: nn.Module, seed: int = 0, scale: float = 0.5) -> nn.Module:
    """Add noise of standard deviation scale / sqrt(fan-in) to every weight."""
    generator = torch.Generator().manual_seed(seed)

    def draw(t: Tensor) -> Tensor:
        return torch.randn(t.shape, generator=generator, dtype=torch.float64).to(t.dtype)

    with torch.no_grad():
        for p in module.parameters():
            fan_in = p[0].numel() if p.dim() in (2, 4) else 1
            p.add_(scale * fan_in**-0.5 * draw(p))
        for part in module.modules():
            if isinstance(part, ActNorm):
                part.initialised.fill_(True)
            if isinstance(part, nn.BatchNorm2d):
                part.running_mean.copy_(0.1 * draw(part.running_mean))
                part.running_var.copy_((0.3 * draw(part.running_var)).exp())
    return module.eval()


# -- layers ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Case:
    """One layer: how to make it and what it eats."""

    name: str
    build: Callable[[int, Callable], nn.Module]  # from the number of feature channels, and `net`
    channels: int = 3
    size: tuple[int, ...] = (3, 5)  # of a picture; (): y is a vector
    uses_h: bool = True  # does h change the result?
    needs_h: bool = False  # is h = None an error?
    bins: int | None = None  # y holds whole numbers 0..bins-1; None: real numbers
    reach: float = 1e3  # how large y and h may become before float32 overflows
    pictures: bool = False  # are positions needed? If not, vectors are a case as well
    conditional: bool = True  # is h given?

    def make(
        self, dtype: torch.dtype = torch.float64, batch: int = 3, seed: int = 0, scale: float = 0.5
    ) -> tuple[nn.Module, Tensor, Tensor | None]:
        """(layer, y, h). Weights and inputs are float32 numbers, whatever the dtype."""
        torch.manual_seed(seed)
        layer = randomise(self.new(), seed, scale).to(dtype)
        if self.bins is None:
            y = torch.randn(batch, *self.shape)
        else:
            y = torch.randint(self.bins, (batch, *self.shape))
        h = torch.randn(batch, FEATURES, *self.size) if self.conditional else None
        return layer, y.to(dtype), None if h is None else h.to(dtype)

    def new(self) -> nn.Module:
        return self.build(FEATURES * self.conditional, net if self.size else vector_net)

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one y."""
        return self.channels, *self.size

    @property
    def context(self) -> tuple[int, ...] | None:
        """Shape of the features of one y, for the checks of `cnf.testing`."""
        return (FEATURES, *self.size) if self.conditional else None

    def holds(self, report: Report) -> None:
        """Every law does; features are ignored where, and only where, the layer says so."""
        report.assert_ok()
        ignored = self.conditional and not self.uses_h
        assert (report["context"].status == "known") == ignored

    def __str__(self) -> str:
        return f"{self.name}-{'given_h' if self.conditional else 'alone'}"


def variants(*cases: Case) -> list[Case]:
    """Each case with features and, where the layer can do without, without; of pictures and, where
    it needs no positions, of vectors."""
    found = []
    for case in cases:
        vectors = replace(case, name=f"{case.name}-vector", size=())
        for shape in [case, vectors] if case.size and not case.pictures else [case]:
            found.append(shape)
            if not case.needs_h:
                found.append(replace(shape, conditional=False))
    return found


def net(y_channels: int, h_channels: int, out: int, width: int = 8, **options) -> CouplingNet:
    return CouplingNet(y_channels, h_channels, out, width, **options)


def vector_net(y_channels: int, h_channels: int, out: int, width: int = 8) -> VectorNet:
    return VectorNet(y_channels, h_channels, out, width)


def coupling(
    channels: int, h: int, net: Callable = net, scale: str = "bounded", flip=False, **options
) -> AffineCoupling:
    """`options` are those of the network."""
    changed = channels // 2
    out = changed if scale == "additive" else 2 * changed
    return AffineCoupling(channels, net(channels - changed, h, out, **options), scale, flip)


def spline(channels: int, h: int, net: Callable = net, bins: int = 8, **options) -> SplineCoupling:
    changed = channels // 2
    inside = net(channels - changed, h, SplineCoupling.outputs(changed, bins))
    return SplineCoupling(channels, inside, bins=bins, **options)


def one_by_one(channels: int, h: int, bins: int = 8, **options) -> AutoregressiveSpline:
    return AutoregressiveSpline(MaskedNet(channels, h, 3 * bins - 1, 8), **options)


def checkerboard(channels: int, h: int, norm: str = "none", **options) -> CheckerboardCoupling:
    out = channels if options.get("scale") == "additive" else 2 * channels
    return CheckerboardCoupling(net(channels, h, out, norm=norm), **options)


def split(
    channels: int, h: int, net: Callable = net, num_kept=None, scale="bounded", **options
) -> Split:
    """`options` are those of the network."""
    kept = num_kept or channels - channels // 2
    return Split(channels, net(kept, h, 2 * (channels - kept), **options), scale, num_kept)


def causal(channels: int, h: int, mixture=1, clip=None) -> AutoregressivePrior:
    return AutoregressivePrior(CausalNet(channels, h, 6, 1, 3 * mixture, clip))


def affine(channels: int, h: int, net: Callable = net) -> ConditionalAffine:
    return ConditionalAffine(channels, net(0, h, 2 * channels))


def folded(channels: int, h: int) -> Squeezed:
    """Bijections of a target of few channels: on the folded picture couplings have two halves."""
    c = 4 * channels
    return Squeezed([ActNorm(c), Conv1x1(c), coupling(c, 4 * h), coupling(c, 4 * h, flip=True)])


ALL_BIJECTIONS = variants(
    Case("ActNorm", lambda h, net: ActNorm(3), uses_h=False),
    Case("ActNorm-1_channel", lambda h, net: ActNorm(1), 1, (1, 1), uses_h=False),
    Case("Conv1x1", lambda h, net: Conv1x1(3), uses_h=False),
    Case("Conv1x1-1_channel", lambda h, net: Conv1x1(1), 1, uses_h=False),
    Case("Conv1x1-lu", lambda h, net: Conv1x1(5, lu=True), 5, (2, 3), uses_h=False),
    Case("Squeeze", lambda h, net: Squeeze(), 3, (2, 6), uses_h=False, pictures=True),
    Case("Subbands", lambda h, net: Subbands(), 3, (4, 6), uses_h=False, pictures=True),
    Case("Squeezed", lambda h, net: folded(1, h), 1, (4, 6), pictures=True),
    Case("AffineCoupling", lambda h, net: coupling(4, h, net), 4),
    Case("AffineCoupling-flip", lambda h, net: coupling(4, h, net, flip=True), 4),
    Case("AffineCoupling-odd", lambda h, net: coupling(5, h, net), 5, (2, 3)),
    Case("AffineCoupling-odd_flip", lambda h, net: coupling(5, h, net, flip=True), 5, (2, 3)),
    Case(
        "AffineCoupling-one_convolution",
        lambda h, net: coupling(2, h, net, width=0),
        2,
        pictures=True,
    ),
    Case(
        "AffineCoupling-released",
        lambda h, net: coupling(4, h, net, scale="softplus", gain=True, h_kernel=3),
        4,
        reach=10,  # the softplus scale has no floor
        pictures=True,
    ),
    Case("AffineCoupling-additive", lambda h, net: coupling(4, h, net, scale="additive"), 4),
    Case(
        "AffineCoupling-normed",
        lambda h, net: coupling(4, h, net, norm="instance"),
        4,
        reach=10,  # normalised to 1 again, so only z itself grows
        pictures=True,
    ),
    Case("CheckerboardCoupling", lambda h, net: checkerboard(1, h), 1, pictures=True),
    Case(
        "CheckerboardCoupling-flip", lambda h, net: checkerboard(1, h, flip=True), 1, pictures=True
    ),
    Case("CheckerboardCoupling-3_channels", lambda h, net: checkerboard(3, h), 3, pictures=True),
    Case(
        "CheckerboardCoupling-additive",
        lambda h, net: checkerboard(1, h, scale="additive"),
        1,
        pictures=True,
    ),
    Case(
        "CheckerboardCoupling-normed",
        lambda h, net: checkerboard(1, h, norm="instance"),
        1,
        pictures=True,
    ),
    Case("SplineCoupling", lambda h, net: spline(4, h, net), 4),
    Case("SplineCoupling-odd_flip", lambda h, net: spline(5, h, net, flip=True), 5, (2, 3)),
    Case("SplineCoupling-3_bins", lambda h, net: spline(4, h, net, bins=3, bound=0.8), 4),
    Case("AutoregressiveSpline", lambda h, net: one_by_one(4, h), 4, ()),
    Case("AutoregressiveSpline-flip", lambda h, net: one_by_one(3, h, flip=True), 3, ()),
    Case("AutoregressiveSpline-3_bins", lambda h, net: one_by_one(2, h, bins=3, bound=0.8), 2, ()),
    Case("ConditionalAffine", lambda h, net: affine(3, h, net), needs_h=True),
    Case("Residual", lambda h, net: Residual(8.0), needs_h=True),
)

GAUSSIAN_PRIORS = variants(
    Case("GaussianPrior", lambda h, net: GaussianPrior(3, net(0, h, 6)), needs_h=True),
    Case(
        "GaussianPrior-released",
        lambda h, net: GaussianPrior(3, net(0, h, 6, width=0, gain=True), "softplus"),
        needs_h=True,
        reach=1,
        pictures=True,
    ),
    Case("GaussianPrior-standard", lambda h, net: GaussianPrior(3), uses_h=False),
    Case("Split", lambda h, net: split(4, h, net), 4),
    Case("Split-odd", lambda h, net: split(5, h, net), 5, (2, 3)),
    Case("Split-standard", lambda h, net: Split(5), 5, (2, 3), uses_h=False),
    Case("Split-keeps_one", lambda h, net: split(4, h, net, num_kept=1), 4),
    Case(
        "Split-released",
        lambda h, net: split(2, h, net, width=0, gain=True, scale="softplus"),
        2,
        reach=10,
        pictures=True,
    ),
)

AUTOREGRESSIVE_PRIORS = variants(
    Case("Autoregressive", lambda h, net: causal(3, h), needs_h=True, pictures=True),
    Case(
        "Autoregressive-mixture",
        lambda h, net: causal(2, h, mixture=3),
        2,
        needs_h=True,
        pictures=True,
    ),
    Case("Autoregressive-clip", lambda h, net: causal(3, h, clip=0.5), needs_h=True, pictures=True),
)

ALL_PRIORS = GAUSSIAN_PRIORS + AUTOREGRESSIVE_PRIORS

ALL_DEQUANTIZATIONS = variants(
    Case("Uniform", lambda h, net: UniformDequantization(), uses_h=False, bins=256),
    Case(
        "Uniform-100_levels", lambda h, net: UniformDequantization(100), 1, uses_h=False, bins=100
    ),
    Case("Variational-none", lambda h, net: VariationalDequantization([]), uses_h=False, bins=256),
    Case(
        "Variational", lambda h, net: VariationalDequantization([affine(3, h + 3, net)]), bins=256
    ),
    Case(
        "Variational-couplings",
        lambda h, net: VariationalDequantization([affine(1, h + 1, net), folded(1, h + 1)], bins=5),
        1,
        (4, 2),
        bins=5,
        pictures=True,
    ),
    Case("Binary", lambda h, net: BinaryDequantization(), 1, uses_h=False, bins=2),
    Case(
        "Binary-gaussian",
        lambda h, net: BinaryDequantization(noise="gaussian"),
        1,
        uses_h=False,
        bins=2,
    ),
    Case("Binary-affine", lambda h, net: BinaryDequantization([affine(1, h + 1, net)]), 1, bins=2),
    Case(
        "Binary-affine_gaussian",
        lambda h, net: BinaryDequantization([affine(3, h + 3, net)], noise="gaussian"),
        bins=2,
    ),
    Case(
        "Binary-couplings",
        lambda h, net: BinaryDequantization([affine(1, h + 1, net), folded(1, h + 1)]),
        1,
        (4, 2),
        bins=2,
        pictures=True,
    ),
)

ALL_LAYERS = ALL_BIJECTIONS + ALL_PRIORS + ALL_DEQUANTIZATIONS


def call(
    layer: nn.Module, y: Tensor, h: Tensor | None, seed: int = 0
) -> tuple[Tensor | None, Tensor]:
    """forward of any kind: noise, if any, is keyed by (seed, place in the batch)."""
    if isinstance(layer, Dequantization):
        return layer(y, h, keyed(seed, range(len(y))))
    return layer(y, h)


def stated(prior: Prior, y: Tensor, h: Tensor | None) -> tuple[Tensor, Tensor]:
    """(mu, sigma) of what leaves at a prior, read off its network as the docstring says."""
    if prior.net is None:
        left = prior.latent(y)
        return torch.zeros_like(left), torch.ones_like(left)
    mu, raw = prior.net(prior(y, h)[0], h).chunk(2, dim=1)
    return mu, F.softplus(raw) if prior.scale == "softplus" else (6 * torch.tanh(raw / 6)).exp()


def mixtures(layer, y: Tensor, h: Tensor | None) -> MixtureSameFamily:
    """The mixture of every number that leaves, given those before, as the docstring says."""
    logits, mu, raw = (t.movedim(2, -1) for t in layer.net(y, h).chunk(3, dim=2))
    normal = Normal(mu, (6 * torch.tanh(raw / 6)).exp())
    return MixtureSameFamily(Categorical(logits=logits), normal)


# -- models ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ModelCase:
    """One model of p(y|x), tiny."""

    name: str
    build: Callable[[], ConditionalModel]
    config: Config | None = None
    channels: int = 3  # of y
    x_channels: int = 3
    x_range: float = 255
    bins: int = 256  # y holds whole numbers 0..bins-1
    size: tuple[int, ...] = (4, 8)  # of y; (): vectors
    uses_x: bool = True

    def make(
        self,
        dtype: torch.dtype = torch.float64,
        batch: int = 3,
        seed: int = 0,
        size: tuple[int, ...] | None = None,
    ) -> tuple[ConditionalModel, Tensor, Tensor]:
        """(model in evaluation mode, y, x). Weights and inputs are float32 numbers."""
        torch.manual_seed(seed)
        model = randomise(self.build(), seed, scale=0.3).to(dtype)
        size = size or self.size
        y = torch.randint(self.bins, (batch, self.channels, *size)).to(dtype)
        size = tuple(side // model.factor for side in size)
        x = self.x_range * torch.rand(batch, self.x_channels, *size)
        return model, y, x.to(dtype)

    def __str__(self) -> str:
        return self.name


def configured(name: str, task: str, kind: str, size=(4, 8), **model) -> ModelCase:
    config = from_dict({"task": task, "preset": "laws", "model": {"kind": kind, **model}})
    if task == "vessels":
        return ModelCase(name, lambda: build(config), config, channels=1, bins=2, size=size)
    return ModelCase(name, lambda: build(config), config, size=size)


def flow_of_vectors() -> ConditionalFlow:
    """Of five numbers given three, two of which leave halfway."""
    layers: list[nn.Module] = [UniformDequantization(8)]
    for flip in (False, True):
        layers += [ActNorm(5), Conv1x1(5), coupling(5, 3, vector_net, flip=flip)]
    layers += [split(5, 3, vector_net), GaussianPrior(3, vector_net(0, 3, 6))]
    return ConditionalFlow(layers, RawFeatures(3))


RESIDUAL = {"kind": "residual", "channels": 8, "blocks": 1}
CLIPPED = RESIDUAL | {"fractions": True, "clip": 0.5, "activation": "silu"}
RRDB = {"kind": "rrdb", "channels": 6, "blocks": 1, "growth": 4}
UNET = {"kind": "unet", "channels": 4, "scales": 3}
VGG = {"kind": "vgg", "channels": 4, "scales": 2}
SMALL = {"steps": 2, "width": 8}
SR = SMALL | {"features": RESIDUAL, "dequantization": "uniform"}
VESSELS = SMALL | {"levels": 1, "flip": True, "features": UNET, "dequantization": "binary"}
PAPER = VESSELS | {"features": VGG | {"scales": 3}, "norm": "instance", "prior_width": 8}
CAUSAL = {"ar_width": 8, "ar_blocks": 1, "mixture": 2}

ALL_FLOWS = [
    configured("sr-uniform", "sr", "glow", **SR),
    configured("sr-subbands", "sr", "subband-flow", **SR | {"steps": 1}),
    configured(
        "sr-clipped", "sr", "subband-flow", **SR | {"features": CLIPPED, "steps": 1, "clip": 0.5}
    ),
    configured("sr-blind", "sr", "ablations/flow", **SR | {"prior_sees": "blind", "steps": 1}),
    configured("sr-fixed", "sr", "ablations/flow", **SR | {"prior_sees": "fixed"}),
    configured("sr-unseen", "sr", "ablations/flow", **SR | {"couplings_see_x": False}),
    configured(
        "sr-variational", "sr", "glow", **SR | {"levels": 1, "dequantization": "variational"}
    ),
    configured(
        "sr-released",
        "sr",
        "glow",
        **SR | {"features": RRDB, "scale": "softplus", "gain": True, "h_kernel": 3},
    ),
    configured(
        "sr-three_levels",
        "sr",
        "glow",
        size=(8, 8),
        **SR | {"levels": 3, "steps": 1, "scale": "additive", "prior_width": 8},
    ),
    configured("sr-no_levels", "sr", "glow", **SR | {"levels": 0}),
    configured("sr-causal", "sr", "subband-autoregressive-flow", **SR | {"levels": 1} | CAUSAL),
    configured(
        "sr-colour_after_colour",
        "sr",
        "subband-autoregressive-flow",
        **SR | {"levels": 1, "ar_width": 8, "ar_blocks": 0, "mixture": 3, "ar_clip": 2.0},
    ),
    configured("vessels-binary", "vessels", "glow", **VESSELS),
    configured(
        "vessels-last_prior",
        "vessels",
        "last_prior/flow",
        **VESSELS | {"last": "fixed", "alone": 1},
    ),
    configured("vessels-pixel_loss", "vessels", "likelihood_alone/with_pixel_loss", **VESSELS),
    configured(
        "vessels-gaussian", "vessels", "glow", **VESSELS | {"features": VGG, "noise": "gaussian"}
    ),
    configured(
        "vessels-uniform",
        "vessels",
        "likelihood_alone/with_pixel_loss",
        **VESSELS | {"dequantization": "uniform"},
    ),
    configured(
        "vessels-variational", "vessels", "glow", **VESSELS | {"dequantization": "variational"}
    ),
    configured("vessels-no_levels", "vessels", "glow", **VESSELS | {"levels": 0}),
    configured("vessels-paper_a", "vessels", "glow", **PAPER | {"levels": 0}),
    configured("vessels-paper_b", "vessels", "glow", **PAPER | {"levels": 2, "scale": "additive"}),
    configured(
        "vessels-paper_c",
        "vessels",
        "glow",
        **PAPER | {"levels": 0, "scale": "additive", "steps": 3},
    ),
    configured("vessels-causal", "vessels", "autoregressive-flow", **VESSELS | CAUSAL),
    ModelCase(
        "toy-no_features",
        lambda: ConditionalFlow(
            [UniformDequantization(4), Squeeze(), coupling(4, 0), split(4, 0), GaussianPrior(2)],
            NoFeatures(1),
        ),
        channels=1,
        bins=4,
        size=(2, 6),
        uses_x=False,
    ),
    ModelCase(
        "toy-raw_features",
        lambda: ConditionalFlow(
            [BinaryDequantization([affine(3, 4)]), coupling(3, 1), GaussianPrior(3, net(0, 1, 6))],
            RawFeatures(1),
        ),
        channels=3,
        x_channels=1,
        x_range=1,
        bins=2,
        size=(3, 5),
    ),
    ModelCase("toy-vectors", lambda: flow_of_vectors(), channels=5, x_range=1, bins=8, size=()),
    ModelCase(
        "toy-glow_of_vectors",
        lambda: cnf.glow(5, 3, bins=8, levels=0, net="vector", **SMALL, dequantization="uniform"),
        channels=5,
        x_range=1,
        bins=8,
        size=(),
    ),
]

ALL_FACTORISED = [
    configured("logistic", "sr", "logistic", features=RESIDUAL),
    configured("logistic-rrdb", "sr", "logistic", features=RRDB),
    configured("bernoulli", "vessels", "bernoulli", features=UNET),
    configured("bernoulli-vgg", "vessels", "bernoulli", features=VGG),
    configured("weighted", "vessels", "weighted", features=UNET, beta=0.87),
    configured(
        "class_weighted", "vessels", "weighted_likelihood/class_weighted", features=UNET, beta=0.87
    ),
]

YARDSTICK = configured(
    "autoregressive", "vessels", "exact_yardstick/autoregressive", features=UNET, width=8, blocks=1
)
ALL_MODELS = ALL_FLOWS + ALL_FACTORISED + [YARDSTICK]


def noise_of(y: Tensor, seed: int = 0, draw: int = 0) -> list[torch.Generator]:
    """Noise keyed by (seed, place in the batch, draw)."""
    return keyed(seed, range(len(y)), draw)
