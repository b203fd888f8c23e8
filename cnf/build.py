"""The paper's two flows and their factorised baselines, built from a configuration; their files."""

import json
import os
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from safetensors import SafetensorError

from cnf.baselines import Bernoulli, ClassWeighted, DiscretisedLogistic, WeightedBernoulli
from cnf.config import BaselineConfig, Config, FeaturesConfig, FlowConfig, from_dict, to_dict
from cnf.errors import CheckpointError, ConfigError
from cnf.features import Features, ResidualFeatures, RRDBFeatures, UNetFeatures, VGGFeatures
from cnf.flow import ConditionalFlow, ConditionalModel
from cnf.layers import (
    ActNorm,
    AffineCoupling,
    Bijection,
    BinaryDequantization,
    CheckerboardCoupling,
    ConditionalAffine,
    Conv1x1,
    Dequantization,
    GaussianPrior,
    Residual,
    Split,
    Squeeze,
    Squeezed,
    Subbands,
    UniformDequantization,
    VariationalDequantization,
)
from cnf.nets import CouplingNet


def build(config: Config) -> ConditionalModel:
    """The model that a configuration describes, with untrained weights.

    Weights of convolutions lie in channels-last order, and so then do activations: the same values,
    sooner (see the chapter on speed).
    """
    target_channels, bins = {"sr": (3, 256), "vessels": (1, 2)}[config.experiment]
    if isinstance(config.model, FlowConfig):
        model = build_flow(config.model, target_channels, bins)
    else:
        model = build_baseline(config.model)
    return model.to(memory_format=torch.channels_last)


def begin(model: ConditionalModel) -> str:
    """Give a model that `build` made the weights its training begins with; says which, "" if none.

    A model that is loaded or resumed does not need them. Raises ConfigError if they are missing.
    """
    features = model.features
    if isinstance(features, VGGFeatures) and features.pretrained:
        return features.load_pretrained()
    return ""


def build_features(config: FeaturesConfig, levels: int, full: int, carry: bool) -> Features:
    """The feature network: `full` channels at y's resolution, `carry` the upsampled input there."""
    if config.pretrained and config.kind != "vgg":
        raise ConfigError(
            f"features.pretrained = true with features.kind = {config.kind}: there are weights for "
            "vgg only"
        )
    match config.kind:
        case "residual":
            sizes = (config.channels, config.blocks, full, config.fractions, config.clip)
            return ResidualFeatures(levels, *sizes)
        case "rrdb":
            return RRDBFeatures(levels, config.channels, config.blocks, config.growth, carry)
        case "unet":
            return UNetFeatures(levels, config.channels, config.scales)
        case "vgg":
            return VGGFeatures(levels, config.channels, config.scales, config.pretrained)


def build_flow(config: FlowConfig, target_channels: int, bins: int) -> ConditionalFlow:
    """Dequantization of `bins` levels; L times squeeze, K steps, split prior; conditional prior.

    Without levels (L = 0) the K steps work at the resolution of y, see `flat_step`.
    """
    # what works at the resolution of y: this q, and the steps of a flow without levels
    has_full = config.dequantization == "variational" or not config.levels
    full = config.features.channels // 4 if has_full else 0
    features = build_features(config.features, config.levels, full, config.residual is not None)
    h, c = features.channels, target_channels
    layers: list = [dequantization(config, c, h[0], bins)]
    if config.residual is not None:
        layers.append(Residual(config.residual))
    for k in range(0 if config.levels else config.steps):
        layers += flat_step(config, c, h[0], flip=k % 2 == 1)
    for level in range(1, config.levels + 1):
        layers.append(Subbands() if config.subbands and level == 1 else Squeeze())
        c *= 4
        if config.subbands and level == 1:
            for k in range(config.low_steps):
                layers += step(config, c, h[level], flip=config.flip and k % 2 == 1)
            low = split(config, c, h[level], 3 * target_channels, config.low_width)
            layers += [ActNorm(c), low]
            c = 3 * target_channels
        for k in range(config.steps):
            layers += step(config, c, h[level], flip=config.flip and k % 2 == 1)
        if level < config.levels:
            layers.append(split(config, c, h[level], c - c // 2, config.prior_width))
            c -= c // 2
    net = None
    if config.prior != "fixed":
        net = CouplingNet(0, h[-1], 2 * c, config.prior_width, gain=config.gain, norm=config.norm)
    layers.append(GaussianPrior(c, net, config.prior_scale))
    return ConditionalFlow(layers, features, config.auxiliary)


def step(config: FlowConfig, c: int, h: int, flip: bool) -> list[Bijection]:
    """Activation normalization, invertible 1x1 convolution, conditional coupling."""
    kept, changed = c - c // 2, c // 2
    out = changed if config.scale == "additive" else 2 * changed
    h = h if config.couplings_see_x else 0
    coupling = AffineCoupling(
        c, coupling_net(config, kept, h, out), config.scale, flip, config.max_log_scale
    )
    return [ActNorm(c), Conv1x1(c, config.lu), coupling]


def flat_step(config: FlowConfig, c: int, h: int, flip: bool) -> list[Bijection]:
    """A step of a flow without levels: nothing is squeezed, so a target of one channel has no half
    of its channels to condition on. The two colours of a checkerboard take that part."""
    out = c if config.scale == "additive" else 2 * c
    net = coupling_net(config, c, h if config.couplings_see_x else 0, out)
    mixing = [Conv1x1(c, config.lu)] if c > 1 else []
    coupling = CheckerboardCoupling(net, config.scale, flip, config.max_log_scale)
    return [ActNorm(c), *mixing, coupling]


def coupling_net(config: FlowConfig, y: int, h: int, out: int) -> CouplingNet:
    """The network inside a coupling, of y and h channels."""
    options = (config.h_kernel, config.gain, config.clip, config.norm)
    return CouplingNet(y, h, out, config.width, *options)


def split(config: FlowConfig, c: int, h: int, num_kept: int, width: int) -> Split:
    """A conditional split prior; width 0: its network is one convolution."""
    if config.prior == "fixed":
        return Split(c, None, config.prior_scale, num_kept)
    h = h if config.prior == "conditional" else 0
    net = CouplingNet(num_kept, h, 2 * (c - num_kept), width, gain=config.gain, norm=config.norm)
    return Split(c, net, config.prior_scale, num_kept)


def dequantization(config: FlowConfig, c: int, h: int, bins: int) -> Dequantization:
    """The dequantization; q sees the features at y's resolution and y itself."""
    if config.dequantization == "uniform":
        return UniformDequantization(bins)
    context = h + c
    net = CouplingNet(0, context, 2 * c, config.q_width, h_kernel=3)
    layers: list[Bijection] = [ConditionalAffine(c, net)]
    if config.q_steps:
        steps = [step(config, 4 * c, 4 * context, k % 2 == 1) for k in range(config.q_steps)]
        layers.append(Squeezed(sum(steps, [])))
    if config.dequantization == "variational":
        return VariationalDequantization(layers, bins)
    return BinaryDequantization(layers, config.noise)


def build_baseline(config: BaselineConfig) -> ConditionalModel:
    """A factorised model on the same feature network, read at y's resolution."""
    features = build_features(config.features, 0, config.features.channels // 4, carry=True)
    match config.kind:
        case "logistic":
            return DiscretisedLogistic(features)
        case "bernoulli":
            return Bernoulli(features)
        case "weighted":
            return WeightedBernoulli(features, config.beta)
        case "class_weighted":
            return ClassWeighted(features, config.beta)


# -- files -----------------------------------------------------------------------------------------


def save_model(
    path: Path,
    model: ConditionalModel,
    config: Config,
    metadata: dict[str, str] | None = None,
    half: bool = False,
) -> None:
    """Write weights as safetensors with the configuration inside, atomically.

    half: store floating-point weights as float16; what is loaded then is those rounded weights.
    """
    tensors = {
        name: t.half() if half and t.is_floating_point() else t
        for name, t in ((k, v.detach().cpu().contiguous()) for k, v in model.state_dict().items())
    }
    partial = path.with_name(path.name + ".tmp")
    inside = {**(metadata or {}), "config": json.dumps(to_dict(config))}
    safetensors.torch.save_file(tensors, partial, metadata=inside)
    os.replace(partial, path)


def load_model(path: Path) -> tuple[ConditionalModel, Config, dict[str, str]]:
    """Read what `save_model` wrote: (model in evaluation mode, its configuration, metadata).

    Raises CheckpointError if the file is missing, cut short, or of another model.
    """
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path} cannot be read as weights ({error})") from None
    if "config" not in metadata:
        raise CheckpointError(f"{path} holds no configuration: it was not written by this package")
    config = from_dict(json.loads(metadata.pop("config")))
    model = build(config)
    target = model.state_dict()
    try:
        model.load_state_dict({k: t.to(target[k].dtype) for k, t in tensors.items()})
    except (KeyError, RuntimeError) as error:
        raise CheckpointError(f"{path} holds weights of another model ({error})") from None
    return model.eval(), config, metadata


def count_parameters(model: torch.nn.Module) -> int:
    """Number of trainable numbers."""
    return sum(p.numel() for p in model.parameters())
