"""Tiles give what one pass gives."""

import math

import pytest
import skimage.data
import torch

from cnf import noise
from cnf.errors import ConfigError
from cnf.features import RawFeatures
from cnf.flow import ConditionalFlow
from cnf.layers.checkerboard import CheckerboardCoupling
from cnf.layers.prior import GaussianPrior
from cnf.layers.squeeze import Squeeze
from cnf.layers.subbands import bands
from cnf.nets import CouplingNet
from cnf.replication import releases
from cnf.replication.answers import tiling
from cnf.replication.answers.tiling import TILE, WHOLE, Tiles, fitted, grid, in_tiles, margin, plan
from cnf.replication.config import build, load_config
from cnf.replication.results.rows import RESULTS
from cnf.resample import half_inverse

FLOWS = ("sr-flow-cpu-s0", "vessels-flow-cpu-s0")


def committed(name):
    return releases.load(RESULTS / name / "weights.safetensors")


# -- how far a pixel sees --------------------------------------------------------------------------

LOCAL = ["model.kind=glow"]  # without the maps of the whole picture
MODELS = [
    ("vessels-flow-smoke", []),
    ("vessels-flow-smoke", ["model.features.scales=3", "model.levels=2"]),
    ("vessels-flow-smoke", ["model.features.kind=vgg", "model.levels=0"]),
    ("vessels-baseline-smoke", []),
    ("sr-flow-smoke", LOCAL),
    ("sr-flow-smoke", [*LOCAL, "model.h_kernel=3", "model.prior_width=8"]),
    ("sr-flow-smoke", [*LOCAL, "model.features.fractions=true", "model.clip=6.0"]),
    ("sr-flow-smoke", [*LOCAL, "model.features.kind=rrdb", "model.levels=1"]),
]


@torch.no_grad()
def reach(model, side):
    """How far NaN spreads from one pixel of x: what a pixel of a sample can depend on at all."""
    model.check_input = lambda x: None
    f, found = model.factor, 0
    for place in range(side // 2, side // 2 + grid(model), f):
        x = torch.zeros(1, 3, side // f, side // f)
        x[..., place // f, place // f] = math.nan
        v = model.sample_given(model.condition(x), 1, 1.0, noise.keyed(0, [0]))
        rows = v.reshape(-1, side, side).isnan().any(0).any(1).nonzero().flatten()
        found = max(found, place - rows[0].item(), rows[-1].item() - place - f + 1)
        assert 0 < rows[0] and rows[-1] < side - 1, "the picture is too small to tell"
    return found


@pytest.mark.equation("eq-features-reach", "eq-norms-reach")
@pytest.mark.parametrize("case", MODELS, ids=lambda c: f"{c[0]} {' '.join(c[1])}")
def test_the_margin_is_how_far_a_pixel_sees(case):
    model = build(load_config(*case)).eval()
    counted, step = margin(model), grid(model)
    measured = reach(model, 2 * counted + 8 * step)
    # counted a little high: rounded up to the grid, and positions of the coarsest map twice
    assert counted - 3 * max(step, model.features.multiple) < measured <= counted


def test_resampling_fades_within_its_margin():
    size, f = 256, tiling.FADE
    far = (torch.arange(size)[:, None] - torch.arange(0, size, 2)).abs() > f
    low, detail = bands(size).T.chunk(2, dim=1)  # (pixels, positions of 2 pixels)
    for kernel in (low, detail, half_inverse(size // 2)):
        assert kernel[far].abs().max() < 3e-8 < kernel[~far].abs().max()
    baseline = build(load_config("sr-baseline-smoke"))  # it reads the upsampled input
    assert tiling.features_reach(baseline.features) < f < margin(baseline)


NORMED = ["model.norm=instance", "model.levels=0"]


def test_a_model_that_normalises_over_the_picture_is_not_cut():
    model = build(load_config("vessels-flow-smoke", NORMED)).eval()
    for call in (lambda: margin(model), lambda: plan(model, (64, 96), 32)):
        with pytest.raises(ConfigError, match="cannot draw in tiles, .* whole picture.* --tile 0"):
            call()
    assert plan(model, (64, 96)) is None and plan(model, (6400, 9600), 0) is None
    with pytest.raises(ConfigError, match="cannot draw in tiles"):
        plan(model, (6400, 9600))


def test_the_colours_of_a_tile_are_those_of_the_picture():
    """Features of one scale have no grid of their own; a checkerboard repeats every 2 pixels."""
    one_scale = ["model.features.kind=vgg", "model.features.scales=1", "model.levels=0"]
    model = build(load_config("vessels-flow-smoke", one_scale)).eval()
    assert model.features.multiple == 1 and grid(model) == 2


def test_the_colours_of_a_checkerboard_are_those_of_its_level():
    torch.manual_seed(0)
    net = CouplingNet(4, 3, 8, 8)
    torch.nn.init.normal_(net.last.weight)
    layers = [Squeeze(), CheckerboardCoupling(net), GaussianPrior(4)]
    model = ConditionalFlow(layers, RawFeatures(3, 1)).eval()
    assert model.multiple == 4
    x = torch.rand(1, 3, 24, 24)
    tiled = drawn(model, x, Tiles((24, 24), 8, margin(model)))
    torch.testing.assert_close(tiled, drawn(model, x), rtol=0, atol=1e-5)


# -- tiled equals whole ----------------------------------------------------------------------------


@torch.no_grad()
def drawn(model, x, tiles=None):
    """One sample of v."""

    def apply(part, generator):
        return model.sample_given(model.condition(part), 1, 0.8, generator)[0]

    return in_tiles(model, x, apply, lambda: noise.keyed(0, [7]), tiles)


@pytest.fixture(scope="module", params=FLOWS)
def strip(request):
    """(model, x, tiles): a strip of a photograph, wider than a tile and not on the grid."""
    model = committed(request.param)
    pixels = torch.from_numpy(skimage.data.coffee().transpose(2, 0, 1).copy()).float()[None]
    x = pixels[..., 200:235, 20:231] if model.factor > 1 else pixels[..., 200:269, 20:421]
    size = tuple(model.factor * side for side in fitted(model, x).shape[-2:])
    return model, x, Tiles(size, 64, margin(model))


def test_tiles_give_what_one_pass_gives(strip):
    """At the committed weights, in v, everywhere."""
    model, x, tiles = strip
    assert min(tiles.size) > tiles.side
    assert any(t[1].start > 0 and t[1].stop < tiles.size[1] for t, _ in tiles)
    whole, tiled = drawn(model, x), drawn(model, x, tiles)
    # float32 through some 50 convolutions; the resampling kernels leave 3e-8 beyond FADE
    scale = whole.abs().max().item()
    torch.testing.assert_close(tiled, whole, rtol=0, atol=2e-5 * scale)
    across = [(t[..., 64::64] - t[..., 63:-1:64]).abs() for t in (tiled, whole)]
    torch.testing.assert_close(*across, rtol=0, atol=4e-5 * scale)  # no seam of its own


def test_a_smaller_margin_or_noise_of_its_own_shows_a_seam(strip):
    model, x, tiles = strip
    whole = drawn(model, x)
    near = Tiles(tiles.size, tiles.side, 0)
    assert (drawn(model, x, near) - whole).abs().max() > 0.02

    def own(part, generator):
        return model.sample_given(model.condition(part), 1, 0.8, generator.generator)[0]

    with torch.no_grad():
        fresh = in_tiles(model, x, own, lambda: noise.keyed(0, [7]), tiles)
    assert (fresh - whole).abs().max() > 0.02


# -- how to cut ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "size, side", [((2000, 3000), 900), ((3000, 400), 512), ((640, 5000), 333)]
)
def test_tiles_cover_the_picture_with_their_margins(size, side):
    vessels = committed("vessels-flow-cpu-s0")
    tiles = plan(vessels, size, side)
    assert 0 <= tiles.side - side < grid(vessels) and tiles.margin == margin(vessels)
    covered = torch.zeros(size, dtype=torch.int8)
    for tile, core in tiles:
        covered[core] += 1
        for length, outer, inner in zip(size, tile, core, strict=True):
            assert inner.start - outer.start in (inner.start, tiles.margin)
            assert outer.stop - inner.stop in (length - inner.stop, tiles.margin)
            assert not any(n % grid(vessels) for n in (outer.start, outer.stop, inner.start))
    assert (covered == 1).all()
    rows, columns = (-(-length // tiles.side) for length in size)
    assert str(tiles).startswith(f"{rows}x{columns} tiles of {tiles.side} pixels a side, margin")


def test_only_large_pictures_are_cut_unless_asked_for():
    vessels = committed("vessels-flow-cpu-s0")
    assert plan(vessels, (2000, WHOLE // 2000)) is None
    assert plan(vessels, (2004, WHOLE // 2000)).side == TILE
    with pytest.raises(ConfigError, match=r"--tile 7: each tile needs (\d+) pixels .* give \1 or"):
        plan(vessels, (2000, 3000), 7)
    assert plan(vessels, (8000, 8000), 0) is None
    assert plan(vessels, (400, 300), 400) is None and plan(vessels, (400, 300), 396) is not None
