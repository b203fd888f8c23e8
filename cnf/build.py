"""The paper's two flows and their factorised baselines, built from a configuration; their files."""

import json
import operator
from dataclasses import asdict, fields
from importlib import import_module
from importlib.metadata import metadata
from pathlib import Path
from typing import Any

import safetensors
import torch
from safetensors import SafetensorError
from torch import nn

from cnf import __version__, baselines, layers
from cnf.config import (
    AutoregressiveConfig,
    BaselineConfig,
    Config,
    ControlConfig,
    FeaturesConfig,
    FlowConfig,
    GlowConfig,
    from_dict,
    glow_config,
)
from cnf.errors import CheckpointError, ConfigError
from cnf.features import (
    Features,
    NoFeatures,
    RawFeatures,
    ResidualFeatures,
    RRDBFeatures,
    UNetFeatures,
    VGGFeatures,
    channels_of,
)
from cnf.flow import ConditionalFlow, ConditionalModel, Layer
from cnf.nets import CausalNet, CouplingNet


def build(config: Config) -> ConditionalModel:
    """The model that a configuration describes, with untrained weights.

    Weights of convolutions lie in channels-last order, and so then do activations: the same values,
    sooner (see the chapter on speed).
    """
    channels, bins, factor = {"sr": (3, 256, 2), "vessels": (1, 2, 1)}[config.experiment]
    kind = config.model.kind
    wanted = "sr" if kind in ("logistic", "mixture") else "vessels"
    if kind != "flow" and config.experiment != wanted:
        raise ConfigError(f"model.kind = {kind}: it is a model of {wanted} only")
    if isinstance(config.model, FlowConfig):
        features = flow_features(config.model)
        model: ConditionalModel = build_flow(config.model, channels, features, bins)
    elif isinstance(config.model, AutoregressiveConfig):
        features = build_features(config.model.features, 0, 0, carry=False)
        model = baselines.Autoregressive(features, config.model.width, config.model.blocks)
    elif isinstance(config.model, ControlConfig):
        laboratory = import_module("cnf.replication.controls")  # a door to it
        model = laboratory.control(config.model)
    else:
        model = build_baseline(config.model)
    if model.factor != factor:
        raise ConfigError(
            f"features.kind = {config.model.features.kind} is not for {config.experiment}: choose "
            "residual or rrdb for sr, unet or vgg for vessels"
        )
    check_options(config)
    model.config = config
    return model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


# what each kind of feature network reads beside `kind` and `channels`
READ = {
    "residual": {"blocks", "fractions", "clip", "activation"},
    "rrdb": {"blocks", "growth"},
    "unet": {"scales"},
    "vgg": {"scales", "pretrained"},
}


def leave_out(options: Any, names: str, of: str = "") -> None:
    """Raise ConfigError if one of these options is set, which nothing reads here."""
    defaults = {field.name: field.default for field in fields(options)}
    for name in names.split():
        value, default = getattr(options, name), defaults[name]
        if value != default:
            given, unset = (json.dumps(v).strip('"') for v in (value, default))
            raise ConfigError(
                f"{of}{name} = {given}: nothing reads it here, so leave it at {unset}"
            )


def check_options(config: Config) -> None:
    """Raise ConfigError for options that nothing reads, or that mean nothing in the experiment."""
    model, features = config.model, config.model.features
    leave_out(config.data, "jitter" if config.experiment == "sr" else "noise round_x", "data.")
    unread = set().union(*READ.values()) - READ[features.kind]
    leave_out(features, " ".join(sorted(unread)), "model.features.")
    if isinstance(model, BaselineConfig):
        leave_out(model, "" if "weighted" in model.kind else "beta", "model.")
        leave_out(model, "" if model.kind == "logistic" else "cells", "model.")
    if not isinstance(model, FlowConfig):
        return
    if config.experiment == "vessels":
        leave_out(model, "residual", "model.")
    if model.dequantization == "binary" and config.experiment == "sr":
        raise ConfigError(
            "model.dequantization = binary for sr: it is for labels, so choose uniform or "
            "variational"
        )


def begin(model: ConditionalModel) -> str:
    """Give a model that `build` made the weights its training begins with; says which, "" if none.

    A model that is loaded or resumed does not need them. Raises ConfigError if they are missing.
    """
    features = getattr(model, "features", None)
    if isinstance(features, VGGFeatures) and features.pretrained:
        return features.load_pretrained()
    return ""


def flow_features(config: FlowConfig) -> Features:
    """The feature network of a flow, with channels at y's resolution where something works there:
    a variational q, or the steps of a flow without levels."""
    has_full = config.dequantization == "variational" or not config.levels
    full = config.features.channels // 4 if has_full else 0
    return build_features(config.features, config.levels, full, config.residual is not None)


def build_features(config: FeaturesConfig, levels: int, full: int, carry: bool) -> Features:
    """The feature network: `full` channels at y's resolution, `carry` the upsampled input there."""
    match config.kind:
        case "residual":
            sizes = (config.channels, config.blocks, full, config.fractions, config.clip)
            return ResidualFeatures(levels, *sizes, config.activation)
        case "rrdb":
            return RRDBFeatures(levels, config.channels, config.blocks, config.growth, carry)
        case "unet":
            return UNetFeatures(levels, config.channels, config.scales)
        case "vgg":
            return VGGFeatures(levels, config.channels, config.scales, config.pretrained)


def glow(
    channels: int,
    context: int = 0,
    *,
    features: nn.Module | None = None,
    bins: int = 256,
    **options: Any,
) -> ConditionalFlow:
    """A conditional Glow of p(y|x), with untrained weights: L levels of K steps.

    Args:
        channels: of y.
        context: channels of x, which is at the resolution of y and read as it is, averaged over 2x2
            blocks at every further level. 0: an unconditional p(y), where x gives only the size
            and the last prior is N(0, I).
        features: instead of that, any module h = features(x): it returns one map a level, at the
            resolution of y and then half as large each time, L + 1 in all, and says their
            `channels`, such as [16, 32]; also `multiple` and `factor` (see `Features`) where they
            are not 1.
        bins: grey levels of y, 0 .. bins - 1, for "uniform" and "variational" dequantization.
        options: `levels`, `steps`, `width`, `dequantization` and the other fields of `GlowConfig`.
            By default 2 levels of 8 steps and a continuous y (dequantization=None).

    Shapes: y (B, channels, H, W), H and W multiples of the flow's `multiple`; x (B, context, H, W).
    Raises ConfigError for an option that does not fit, ValueError for features that do not.

    >>> flow = glow(channels=1, context=2, levels=1, steps=4, width=32)
    >>> y, x = torch.rand(8, 1, 6, 6), torch.rand(8, 2, 6, 6)
    >>> flow.log_prob(y, x).shape, flow.sample(x, n=3).shape
    (torch.Size([8]), torch.Size([3, 8, 1, 6, 6]))
    """
    config = glow_config(options)
    channels, context, bins = map(operator.index, (channels, context, bins))
    if channels < 1 or context < 0 or bins < 2:
        raise ConfigError(
            f"channels = {channels}, context = {context}, bins = {bins}: give 1, 0 and 2 or more"
        )
    arguments = {"channels": channels, "context": context, "bins": bins, **asdict(config)}
    if features is not None:
        arguments["features"] = type(features).__name__
    elif context:
        features = RawFeatures(context, config.levels)
    else:
        features = NoFeatures(config.levels)
    flow = build_flow(config, channels, features, bins)
    flow.arguments = arguments
    return flow


def build_flow(
    config: GlowConfig, channels: int, features: nn.Module, bins: int
) -> ConditionalFlow:
    """Dequantization of `bins` levels; L times squeeze, K steps, split prior; conditional prior.

    Without levels (L = 0) the K steps work at the resolution of y, see `flat_step`; their colours
    take turns with `flip` or without.
    """
    if not config.ar_width:
        leave_out(config, "mixture ar_blocks ar_clip")
    if not config.subbands:
        leave_out(config, "low_steps low_width")
    if config.dequantization not in ("variational", "binary"):
        leave_out(config, "q_steps")
    if config.dequantization != "binary":
        leave_out(config, "noise")

    if config.ar_width and config.prior != "conditional":
        raise ConfigError(f"prior = {config.prior} with ar_width: autoregressive priors see x")
    if config.subbands and not config.levels:
        raise ConfigError("subbands = true with levels = 0: bands are squeezed, so take a level")
    if config.auxiliary and (channels != 1 or config.dequantization != "binary" and bins != 2):
        raise ConfigError(
            f"auxiliary = {config.auxiliary}: a cross-entropy of labels, so y must have one "
            "channel of 0 and 1"
        )
    h, c = channels_of(features), channels
    if len(h) <= config.levels:
        raise ValueError(f"levels = {config.levels} needs {config.levels + 1} maps of the features")
    stack: list[Layer] = []
    if config.dequantization is not None:
        stack.append(dequantization(config, c, h[0], bins))
    if config.residual is not None:
        stack.append(layers.Residual(config.residual))
    for k in range(0 if config.levels else config.steps):
        stack += flat_step(config, c, h[0], flip=k % 2 == 1)
    for level in range(1, config.levels + 1):
        stack.append(layers.Subbands() if config.subbands and level == 1 else layers.Squeeze())
        c *= 4
        if config.subbands and level == 1:
            for k in range(config.low_steps):
                stack += step(config, c, h[level], flip=config.flip and k % 2 == 1)
            low = split(config, c, h[level], 3 * channels, config.low_width)
            stack += [layers.ActNorm(c), low]
            c = 3 * channels
        for k in range(config.steps):
            stack += step(config, c, h[level], flip=config.flip and k % 2 == 1)
        if level < config.levels:
            kept = c - c // 2
            leaves = autoregressive if config.ar_width else split
            stack.append(leaves(config, c, h[level], kept))
            c = kept
    if config.ar_width:
        stack.append(autoregressive(config, c, h[config.levels]))
        return ConditionalFlow(stack, features, config.auxiliary)
    net = None
    if config.prior != "fixed" and h[config.levels]:
        net = prior_net(config, 0, h[config.levels], 2 * c, config.prior_width)
    stack.append(layers.GaussianPrior(c, net, config.prior_scale))
    return ConditionalFlow(stack, features, config.auxiliary)


def step(config: GlowConfig, c: int, h: int, flip: bool) -> list[layers.Bijection]:
    """Activation normalization, invertible 1x1 convolution, conditional coupling."""
    net = coupling_net(config, c - c // 2, h, c // 2)
    coupling = layers.AffineCoupling(c, net, config.scale, flip, config.max_log_scale)
    return [layers.ActNorm(c), layers.Conv1x1(c, config.lu), coupling]


def flat_step(config: GlowConfig, c: int, h: int, flip: bool) -> list[layers.Bijection]:
    """A step of a flow without levels: nothing is squeezed, so a target of one channel has no half
    of its channels to condition on. The two colours of a checkerboard take that part."""
    net = coupling_net(config, c, h, c)
    mixing = [layers.Conv1x1(c, config.lu)] if c > 1 else []
    coupling = layers.CheckerboardCoupling(net, config.scale, flip, config.max_log_scale)
    return [layers.ActNorm(c), *mixing, coupling]


def coupling_net(config: GlowConfig, y: int, h: int, changed: int) -> CouplingNet:
    """The network inside a coupling that sees y and h channels, and changes others."""
    h = h if config.couplings_see_x else 0
    out = changed if config.scale == "additive" else 2 * changed
    options = (config.h_kernel, config.gain, config.clip, config.norm, config.activation)
    return CouplingNet(y, h, out, config.width, *options)


def prior_net(config: GlowConfig, y: int, h: int, out: int, width: int) -> CouplingNet:
    """The network of a Gaussian prior, of y channels that go on and h channels."""
    return CouplingNet(y, h, out, width, 1, config.gain, None, config.norm, config.activation)


def split(
    config: GlowConfig, c: int, h: int, num_kept: int, width: int | None = None
) -> layers.Split:
    """A conditional split prior, by default of `prior_width`; 0: its network is one convolution."""
    width = config.prior_width if width is None else width
    if config.prior == "fixed":
        return layers.Split(c, None, config.prior_scale, num_kept)
    h = h if config.prior == "conditional" else 0
    net = prior_net(config, num_kept, h, 2 * (c - num_kept), width)
    return layers.Split(c, net, config.prior_scale, num_kept)


def autoregressive(
    config: GlowConfig, c: int, h: int, num_kept: int = 0
) -> layers.AutoregressivePrior:
    """An autoregressive (split) prior of c channels."""
    sizes = (h + num_kept, config.ar_width, config.ar_blocks, 3 * config.mixture)
    net = CausalNet(c - num_kept, *sizes, clip=config.ar_clip)
    return layers.AutoregressivePrior(net, num_kept)


def dequantization(config: GlowConfig, c: int, h: int, bins: int) -> layers.Dequantization:
    """The dequantization; q sees the features at y's resolution and y itself."""
    if config.dequantization == "uniform":
        return layers.UniformDequantization(bins)
    context = h + c
    net = CouplingNet(0, context, 2 * c, config.q_width, h_kernel=3)
    q: list[layers.Bijection] = [layers.ConditionalAffine(c, net)]
    if config.q_steps:
        steps = [step(config, 4 * c, 4 * context, k % 2 == 1) for k in range(config.q_steps)]
        q.append(layers.Squeezed(sum(steps, [])))
    if config.dequantization == "variational":
        return layers.VariationalDequantization(q, bins)
    with torch.no_grad():  # far from the threshold and narrow: what follows can read the label
        net.last.bias[:c], net.last.bias[c:] = -1.0, 2.5  # type: ignore[index]
    return layers.BinaryDequantization(q, config.noise)


def build_baseline(config: BaselineConfig) -> ConditionalModel:
    """A factorised model on the same feature network, read at y's resolution."""
    features = build_features(config.features, 0, config.features.channels // 4, carry=True)
    if config.kind == "logistic":
        return baselines.DiscretisedLogistic(features, config.cells)
    if config.kind == "bernoulli":
        return baselines.Bernoulli(features)
    weighted = config.kind == "weighted"
    kind = baselines.WeightedBernoulli if weighted else baselines.ClassWeighted
    return kind(features, config.beta)


# -- files -----------------------------------------------------------------------------------------

# "sr" and "vessels" are flows of couplings: those with an autoregressive prior draw better, but one
# number after the other
RELEASES = {
    "sr": "sr-flow-cpu-s0",
    "sr-baseline": "sr-baseline-muon-photos-s0",
    "vessels": "vessels-flow-cpu-s0",
    "vessels-baseline": "vessels-baseline-cpu-s0",
}
# of their weights, for those who installed the package without the repository
SHA256 = {
    "sr-baseline-cpu-s0": "6e579f430e4604232bafa9f0a16125c34faa213ef981827fda2fcf09e5217859",
    "sr-baseline-muon-photos-s0": "c62d2e674317f445da47edf35cfad0b355995674cad0c8ef55f2ba8db9c42dd1",  # noqa: E501
    "sr-flow-ar-photos-s0": "7abf8ef2dcdcd6e96e04717686b0a2041c3ed2a144a8c81562cf1f4ccf93004a",
    "sr-flow-cpu-s0": "e6f1cf43bc2bb98be655d6a9f68f5a8cc267b5fb1245cbebe308c99742dddcc7",
    "vessels-baseline-cpu-s0": "976b2d84c3b3fa50050a8d961de7d2e9533108faf60e0eb92395ae9cdbef4961",
    "vessels-flow-ar-cpu-s0": "f53caeda867286e03193465df6186b7f5832d7a41bebc48d4343f516f2189fbd",
    "vessels-flow-cpu-s0": "07a3bb95a47f1c17cc806a5a3a80bf7aef852377b16335fe1b2cf02e8c2893bc",
}
WEIGHTS = "weights.safetensors"
RESULTS = Path(__file__).resolve().parents[1] / "results"


def load(name: Path | str = "sr", into: ConditionalModel | None = None) -> ConditionalModel:
    """A trained model in evaluation mode, on the CPU; its `config` and `metadata` say what it is.

    Args:
        name: a file that `save` wrote; a run folder; a folder of `results/`, such as
            "sr-flow-cpu-s0"; or "sr" (whole photographs, x2), "vessels", "sr-baseline",
            "vessels-baseline". Away from the repository these four, and the runs of `SHA256`, are
            downloaded once.
        into: a model that takes the weights, where the file cannot say how to build it: one with
            layers or a feature network of your own. It is returned.

    Grey levels are 0 to 255 in and out; x (B,3,H,W), samples (n,B,3,2H,2W):

    >>> import cnf, torch
    >>> model = cnf.load("sr-flow-cpu-s0")
    >>> x = torch.full((1, 3, 24, 32), 128.0)
    >>> model.sample(x, n=2, temperature=0.8).shape
    torch.Size([2, 1, 3, 48, 64])

    Vessels: x is the photograph, sides multiples of `model.multiple`, samples are masks of 0 and 1
    of its size, and their mean is the probability of a vessel:

    >>> model = cnf.load("vessels")
    >>> x = torch.full((1, 3, 64, 96), 128.0)
    >>> model.sample(x, n=4).shape
    torch.Size([4, 1, 1, 64, 96])
    >>> model.mean(x, n=4).shape
    torch.Size([1, 1, 64, 96])

    Raises CheckpointError, naming what is there, for another name, or for a file that is missing,
    cut short, or of another model.
    """
    is_file = Path(name).suffix == ".safetensors" or Path(name).is_file()
    path = Path(name) if is_file else find(name)
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            said = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path} cannot be read as weights ({error})") from None
    try:
        glow_of = json.loads(said.get("glow", "{}"))
        model = _described(path, said) if into is None else into
    except (ConfigError, json.JSONDecodeError) as error:
        raise CheckpointError(f"{path} describes no model of this version ({error})") from None
    # before anything is copied: a model that does not fit stays as it was
    own, found = ({k: t.shape for k, t in d.items()} for d in (model.state_dict(), tensors))
    for key in own | found:
        if own.get(key) != found.get(key):
            raise CheckpointError(
                f"{path} holds weights of another model ('{key}' does not fit): build the model "
                "that was saved"
            )
    own_glow = (model.arguments or {}) if into is not None else {}
    for key, value in glow_of.items():
        if own_glow.get(key, value) != value:
            raise CheckpointError(
                f"{path} is of a flow with {key} = {value}, not {own_glow[key]}: build the model "
                "that was saved"
            )
    if any(t.dtype == torch.float64 for t in tensors.values()):
        model.double()
    target = model.state_dict()
    model.load_state_dict({k: t.to(target[k].dtype) for k, t in tensors.items()})
    model.metadata = {k: v for k, v in said.items() if k not in ("config", "glow")}
    return model.eval()


def _described(path: Path, said: dict[str, str]) -> ConditionalModel:
    """The model that a file of weights describes, untrained."""
    if "config" in said:
        return build(from_dict(json.loads(said["config"])))
    arguments = json.loads(said.get("glow", "{}"))
    if not arguments or "features" in arguments:
        own = f"its feature network {arguments['features']}" if arguments else "its layers"
        raise CheckpointError(
            f"{path} does not say how to build {own}: build the model again and give it as "
            "cnf.load(path, into=model)"
        )
    return glow(**arguments)


def find(name: Path | str, results: Path = RESULTS) -> Path:
    """The weights of a model: of a name of RELEASES, of a run of `results/`, or of a run folder.

    Without `results/`, which only the repository has, released weights are downloaded. Raises
    CheckpointError, naming what is there, if there are no weights.
    """
    run = RELEASES.get(str(name), str(name))
    for path in (results / run / WEIGHTS, Path(run) / WEIGHTS):
        if path.exists():
            return path
    if run in SHA256 and not results.exists():
        return _download(run)
    there = sorted(path.parent.name for path in results.glob(f"*/{WEIGHTS}")) or sorted(SHA256)
    raise CheckpointError(
        f"{name} holds no {WEIGHTS}: give a run folder, or one of {', '.join([*RELEASES, *there])}"
    )


def repository() -> str:
    """The address of the repository, from the package's metadata; "" if it is not known."""
    urls = metadata("cnf").get_all("Project-URL") or []
    return next((u.split(",")[1].strip() for u in urls if u.startswith("Repository,")), "")


def _download(run: str) -> Path:
    """Released weights from the repository that the package's metadata names, kept in the user's
    cache. Raises CheckpointError if it names none, or if they do not come."""
    import pooch  # only here

    address = repository()
    if not address:
        raise CheckpointError(
            f"the weights of {run} are in the results/ of the repository, and this installation "
            "does not know its address: clone it, and give cnf.load the folder of the run"
        )
    url = f"{address}/raw/v{__version__}/results/{run}/{WEIGHTS}"
    try:
        file = pooch.retrieve(
            url, f"sha256:{SHA256[run]}", f"{run}.safetensors", pooch.os_cache("cnf")
        )
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"{url} could not be downloaded ({error}): clone the repository"
        ) from None
    return Path(file)


def count_parameters(model: torch.nn.Module) -> int:
    """Number of trainable numbers."""
    return sum(p.numel() for p in model.parameters())
