"""Misuse of the library and of its configurations: each line is a wrong call, and the words of its
message, which name the value and what to do instead. Whoever adds an error adds a line."""

import math

import numpy as np
import torch
from torch import nn

import cnf
from cnf import lessons
from cnf.errors import ConfigError, DataError
from cnf.features import NoFeatures, RawFeatures, UNetFeatures, VGGFeatures
from cnf.layers import (
    ActNorm,
    AffineCoupling,
    AutoregressivePrior,
    BinaryDequantization,
    CheckerboardCoupling,
    ConditionalAffine,
    GaussianPrior,
    Residual,
    Split,
    Squeeze,
    Subbands,
    UniformDequantization,
)
from cnf.nets import CausalNet, CouplingNet, VectorNet, set_precision
from cnf.replication import tasks
from cnf.replication.config import DataConfig, build, from_dict, load_config
from cnf.replication.data import catalogue, load
from cnf.replication.data.fundus import generate
from cnf.replication.data.known import FineField, GaussianField, RowField, ThresholdedField
from cnf.resample import imresize_double, imresize_half
from cnf.testing import check_bijection
from cnf.testing_ode import check_ode
from tests.laws.cases import ALL_FACTORISED, ALL_FLOWS, causal, net
from tests.messages import table

Y3, Y4 = torch.zeros(1, 3, 2, 2), torch.zeros(1, 4, 2, 2)
H = "h must carry|needs? features h"
END = GaussianPrior(4)


def glow(**options):
    return cnf.glow(4, steps=1, width=4, **options)


def two(**options):
    """A flow that reads an x of two channels."""
    return cnf.glow(1, 2, levels=1, steps=2, width=4, **options).eval()


def flow(*layers):
    return cnf.ConditionalFlow(layers, RawFeatures(1, levels=1))


def thin(layer):
    """A layer whose network returns half of the channels that it needs."""
    return layer(torch.zeros(2, 4, 2, 2), torch.zeros(2, 1, 2, 2))


def of(task, kind):
    return build(from_dict({"task": task, "preset": "test", "model": {"kind": kind}}))


def averaged(case, count):
    model, y, x = case.make()
    return model.importance_log_prob(y, x, count)


# fmt: off
test_a_layer_is_told_what_it_needs = table(
    ValueError,
    (H, lambda: ConditionalAffine(3, net(0, 4, 6))(Y3)),
    (H, lambda: ConditionalAffine(3, net(0, 4, 6)).inverse(Y3)),
    (H, lambda: Residual(2.0)(Y3)),
    (H, lambda: Residual(2.0)(Y3, Y3[:, :2])),
    (H, lambda: Residual(2.0).inverse(Y3)),
    (H, lambda: GaussianPrior(3, net(0, 4, 6)).sample(None, None)),
    (H, lambda: GaussianPrior(3).sample(None, None)),
    (H, lambda: causal(3, 4).sample(None, None)),
    ("scale = 0.0: the magnification must be positive", lambda: Residual(0.0)),
    ("scale = -1.0: the magnification must be positive", lambda: Residual(-1.0)),
    ("scale = nan: the magnification must be positive", lambda: Residual(math.nan)),
    ("at least 2 channels, not 0", lambda: AffineCoupling(0, net(1, 0, 2))),
    ("at least 2 channels, not 1", lambda: AffineCoupling(1, net(1, 0, 2))),
    ("at least 2 channels, not 0", lambda: Split(0, net(1, 0, 2))),
    ("at least 2 channels, not 1", lambda: Split(1, net(1, 0, 2))),
    ("num_kept = 0: keep 1 to 3 of 4", lambda: Split(4, net(1, 0, 2), num_kept=0)),
    ("num_kept = 4: keep 1 to 3 of 4", lambda: Split(4, net(1, 0, 2), num_kept=4)),
    ("num_kept = -1: keep 1 to 3 of 4", lambda: Split(4, net(1, 0, 2), num_kept=-1)),
    ("adit", lambda: AffineCoupling(4, CouplingNet(2, 0, 4, 8), scale="adittive")(Y4)),
    ("= 'additive", lambda: GaussianPrior(4, CouplingNet(0, 4, 8, 8), "additive")(Y4, Y4)),
    ("noise = 'normal'", lambda: BinaryDequantization(noise="normal")(Y4)),
    ("returns 2 channels where 4 are needed", lambda: thin(AffineCoupling(4, net(2, 0, 2)))),
    ("returns 4 channels where 8 are needed", lambda: thin(CheckerboardCoupling(net(4, 0, 4)))),
    ("returns 2 channels where 4 are needed", lambda: thin(Split(4, net(2, 0, 2)))),
    ("returns 4 channels where 8 are needed", lambda: thin(GaussianPrior(4, net(0, 1, 4)))),
    ("returns 4 channels where 8 are needed", lambda: thin(ConditionalAffine(4, net(0, 1, 4)))),
    ("4 channels", lambda: AffineCoupling(4, CouplingNet(2, 0, 4, 8), "additive")(Y4)),
    ("8 channels", lambda: CheckerboardCoupling(CouplingNet(4, 0, 8, 8), "additive")(Y4)),
    ("net has 4 outputs", lambda: AutoregressivePrior(CausalNet(4, 1, 8, 1, 4))),
    ("h of 1 channels", lambda: AutoregressivePrior(CausalNet(4, 1, 8, 1, 3))(Y4)),
)

test_a_network_is_told_what_it_needs = table(
    ValueError,
    ("norm = 'batch'", lambda: CouplingNet(2, 0, 4, 8, norm="batch")),
    ("= 'gelu'", lambda: VectorNet(4, 0, 4, 8, "gelu")(Y4[..., 0, 0], None)),
    ("h_channels = 0: a network needs something", lambda: CouplingNet(0, 0, 4, 8)),
    ("h_channels = 0: a network needs something", lambda: VectorNet(0, 0, 4)),
    ("features h of 3 channels", lambda: CouplingNet(4, 3, 4, 8)(Y4, None)),
    ("3 levels need a U-Net of at least 4 scales", lambda: UNetFeatures(3, scales=3)),
    ("6 VGG scales for 1 levels", lambda: VGGFeatures(1, scales=6)),
    ("precision 'fp16' is unknown: choose fp32 or bf16",
     lambda: set_precision(NoFeatures(), "fp16")),
    ("Identity does not say how many channels", lambda: cnf.Bernoulli(nn.Identity())),
)

test_a_list_that_is_no_flow_is_refused_when_it_is_built = table(
    ValueError,
    ("the last layer is missing: end with a prior that keeps nothing, such as Gauss",
     lambda: flow()),
    ("the last layer is ActNorm: end with a prior", lambda: flow(ActNorm(4))),
    ("the last layer is Split: end with a prior", lambda: flow(Split(4))),
    (r"layers\[0\] is a GaussianPrior, which keeps nothing .*: end there",
     lambda: flow(END, ActNorm(4))),
    (r"layers\[1\] is a GaussianPrior, which keeps nothing", lambda: flow(ActNorm(4), END, END)),
    (r"layers\[1\] is a Uni.*: a deq.* comes first",
     lambda: flow(ActNorm(4), UniformDequantization(), END)),
    ("there is only one", lambda: flow(BinaryDequantization(), UniformDequantization(), END)),
    (r"layers\[0\] is a Conv2d: give bijections, priors and a deq",
     lambda: flow(nn.Conv2d(4, 4, 1), END)),
    (r"2 map\(s\), .* squeeze 2 .*: give 3 maps", lambda: flow(Squeeze(), Subbands(), END)),
)

test_an_option_of_a_flow_that_means_nothing_is_refused = table(
    ConfigError,
    ("coupling = AffineCoupling with", lambda: glow(levels=0, coupling=AffineCoupling)),
    ("clip = 1.0 with net = vector", lambda: glow(levels=0, net="vector", clip=1.0)),
    ("norm = instance with net = vector", lambda: glow(levels=0, net="vector", norm="instance")),
    ("gain = True with net = vector", lambda: glow(levels=0, net="vector", gain=True)),
    ("h_kernel = 3 with net = vector", lambda: glow(levels=0, net="vector", h_kernel=3)),
    ("h_kernel = 3 with context = 0", lambda: glow(h_kernel=3)),
    ("bins = 7 with dequantization = None", lambda: glow(bins=7)),
    ("bins = 2 with dequantization = None", lambda: glow(bins=2)),
    ("bins = 7 with dequantization = binary", lambda: glow(bins=7, dequantization="binary")),
    ("max_log_scale = 0.1 with scale = additive",
     lambda: glow(scale="additive", max_log_scale=0.1)),
    ("= 0.1 with coupling", lambda: glow(coupling=AffineCoupling, max_log_scale=0.1)),
    ("mixture", lambda: cnf.glow(1, 2, mixture=4)),
    ("ar_clip", lambda: cnf.glow(1, 2, ar_clip=2.0)),
    ("low_steps", lambda: cnf.glow(1, 2, low_steps=3)),
    ("q_steps", lambda: cnf.glow(1, 2, dequantization="uniform", q_steps=3)),
    ("channels", lambda: cnf.glow(0, 2)),
    ("bins", lambda: cnf.glow(1, 2, bins=1)),
    ("width = 0 does not fit", lambda: cnf.glow(1, 2, width=0)),
    ("unknown option 'widht'", lambda: cnf.glow(1, 2, widht=8)),
    ("noise = gaussian with dequantization", lambda: cnf.glow(1, 2, noise="gaussian")),
    ("context = 2 with features", lambda: cnf.glow(1, 2, features={"kind": "unet"})),
    ("context = 2 with features", lambda: cnf.glow(1, 2, levels=1, features=NoFeatures())),
    ("features.kind = 'ResNet': choose", lambda: cnf.glow(1, features={"kind": "ResNet"})),
    ("'blocks': the nearest are", lambda: cnf.glow(1, features={"kind": "unet", "blocks": 1})),
)

test_a_model_is_told_what_it_reads = table(
    ValueError,
    (r"\(H, W\) = \(8, 8\)", lambda: two().log_prob(Y4[:, :1], torch.zeros(1, 2, 8, 8))),
    ("no picture", lambda: two().sample(torch.zeros(0, 2, 8, 8), n=2)),
    ("has 3 channels, but the model reads 2: give 2$", 
     lambda: two().sample(torch.zeros(1, 3, 8, 8))),
    ("x is .2, 8, 8.: give a batch", lambda: two().sample(torch.zeros(2, 8, 8))),
    ("n = 0: draw 1 sample or more", lambda: two().sample(torch.zeros(1, 2, 8, 8), 0)),
    ("n = 0: draw 1 sample or more", lambda: two().mean(torch.zeros(1, 2, 8, 8), 0)),
    ("x has 3 channels", lambda: two()(torch.zeros(1, 1, 2, 2), Y3)),
    ("x has 1 channels.*expand", lambda: cnf.load("sr").sample(torch.zeros(1, 1, 8, 8))),
    ("levels = 2 needs 3 maps of the features", lambda: cnf.glow(1, features=RawFeatures(1, 1))),
    ("Conv2d does not say how many", lambda: cnf.glow(1, features=nn.Conv2d(1, 3, 1))),
    ("draws = 0: draw 1 or more", lambda: averaged(ALL_FLOWS[0], 0)),
    ("draws = 0: draw 1 or more", lambda: averaged(ALL_FACTORISED[0], 0)),
    (r"the features have 1 map\(s\), .*give 2 maps",  # found when it is used: nothing says how many
     lambda: cnf.ConditionalFlow([Squeeze(), END], nn.Conv2d(1, 1, 1)).log_prob(
         torch.zeros(1, 1, 4, 4), torch.zeros(1, 1, 4, 4))),
)

VESSELS, BASELINE, SR = "vessels-flow-smoke", "vessels-baseline-smoke", "sr-flow-smoke"

test_an_option_of_a_configuration_that_nothing_reads_is_refused = table(
    ConfigError,
    ("clip", lambda: load_config(VESSELS, ["model.features.clip=6.0"])),
    ("scales", lambda: load_config(SR, ["model.features.scales=2"])),
    ("channels = 0", lambda: load_config(SR, ["model.features.channels=0"])),
    ("residual", lambda: load_config(VESSELS, ["model.residual=8.0"])),
    ("levels = -1", lambda: load_config(VESSELS, ["model.levels=-1"])),
    ("no kind of model 'glw': the nearest are glow",
     lambda: load_config(VESSELS, ["model.kind=glw"])),
    ("no experiments/../plug.py", lambda: load_config(VESSELS, ["model.kind=../glow"])),
    ("beta", lambda: load_config(BASELINE, ["model.beta=0.7"])),
    ("binary for sr", lambda: load_config(SR, ["model.dequantization=binary"])),
    ("data.jitter = 1.5", lambda: load_config(SR, ["data.jitter=1.5"])),
    ("data.noise = 0.1", lambda: load_config(VESSELS, ["data.noise=0.1"])),
    ("data.round_x = true", lambda: load_config(BASELINE, ["data.round_x=true"])),
    ("components", lambda: load_config("experiments/controls/runs/counts.yml",
                                       ["model.components=3"])),
    ("levels = 2: ", lambda: build(load_config(VESSELS, ["model.kind=autoregressive-flow",
                                                         "model.levels=2"]))),
    ("levels = 2: ", lambda: build(load_config(SR, ["model.kind=subband-autoregressive-flow",
                                                    "model.levels=2"]))),
    ("levels = 0: ", lambda: build(load_config(SR, ["model.kind=subband-autoregressive-flow",
                                                    "model.levels=0"]))),
    ("levels = 0: ", lambda: build(load_config(SR, ["model.kind=subband-flow", "model.levels=0"]))),
    (r"^data.round_x = 'maybe' does not fit: [^;]*boolean[^;]*, or [^;]*'mixed'$",
     lambda: load_config(SR, ["data.round_x=maybe"])),
    (r"'training.lrr': the nearest are training.lr, [\w.]+, [\w.]+$",
     lambda: load_config(SR, ["training.lrr=1"])),
    (r"'dta': the nearest are data, [\w.]+, [\w.]+$", lambda: load_config(SR, ["dta.train=x"])),
    (r"'widht': the nearest are width, \w+, \w+$", lambda: load_config(SR, ["model.widht=3"])),
    ("'chanels': the nearest are channels, ",
     lambda: load_config(SR, ["model.features.chanels=3"])),
    ("no preset 'sr-flw-cpu': the nearest are sr-flow-cpu, ", lambda: load_config("sr-flw-cpu")),
    ("controls/counts makes y . times as large as x", lambda: of("sr", "controls/counts")),
    ("gaussian_mixtures/mixture makes y . times as large as x",
     lambda: of("vessels", "gaussian_mixtures/mixture")),
)

test_data_that_cannot_be_used_is_told_in_one_line = table(
    DataError,
    ("imagenet32-vandenoord, imagenet64", lambda tmp_path: load("imagenet", "test", tmp_path)),
    ("embedded-sr, ", lambda tmp_path: load("mnist", "test", tmp_path)),
    ("train, valid, test", lambda tmp_path: load("embedded-sr", "validation", tmp_path)),
    ("192x192.*crop = 200", lambda: tasks.VESSELS.batch(
        load("embedded-vessels", "valid"), [0], DataConfig(train="embedded-vessels", crop=200),
        [np.random.default_rng(0)])),
    ("catalogue.yml, toyset: .*missing .* required", lambda: catalogue._entry("toyset", {})),
    ("catalogue.yml, toyset: .*unexpected keyword argument 'colour'",
     lambda: catalogue._entry("toyset", {"colour": 1})),
)

test_data_that_cannot_be_made_is_told_with_its_size_or_value = table(
    ValueError,
    ("7x8", lambda: imresize_half(torch.zeros(1, 3, 7, 8))),
    ("8x9", lambda: imresize_half(torch.zeros(1, 3, 8, 9))),
    ("2x8", lambda: imresize_half(torch.zeros(1, 3, 2, 8))),
    ("0x8", lambda: imresize_half(torch.zeros(1, 3, 0, 8))),
    ("1x4", lambda: imresize_double(torch.zeros(1, 3, 1, 4))),
    ("32x32.*64", lambda: generate(0, 32)),
    ("not one of this field's inputs",
     lambda: GaussianField((2, 1, 1)).log_prob(Y3[:, :2, :1, :1], Y3[:, :2, :1, :1])),
    ("one to four entries", lambda: ThresholdedField((1, 2, 3))),
    ("one to four entries", lambda: ThresholdedField((2, 2))),
    (r"correlation = 1\.0", lambda: GaussianField(correlation=1.0)),
    ("even sides >= 4", lambda: FineField(7)),
    ("noise >= 1", lambda: FineField(4, noise=0.0)),
    ("grain = 0.5", lambda: FineField(4, grain=0.5)),
    ("deviation = 30.0", lambda: FineField(4, deviation=30.0)),
    ("correlation = 1.0", lambda: FineField(4, correlation=1.0)),
    ("correlation = ", lambda: RowField(correlation=1.0)),
    ("correlation = ", lambda: RowField(contrast=0.0)),
)

test_a_check_or_a_lesson_is_told_what_there_is = table(
    ValueError,
    ("known = 'log-det': choose from shapes, types",
     lambda: check_bijection(ActNorm, (3,), known=["log-det"])),
    ("go together", lambda: check_ode(nn.Identity(), (2,), order=4)),
    ("different times", lambda: check_ode(nn.Identity(), (2,), times=(0.0, 0.0))),
    ("lesson = 10: choose from 1 to 9", lambda: lessons.flow_so_far(10, {})),
)
# fmt: on
