"""The stress test: what it counts, what it finds in the committed models, and that it can fail."""

import math

import pytest
import torch

from cnf import noise
from cnf.errors import ConfigError
from cnf.layers import AffineCoupling
from cnf.replication import plugs, releases
from cnf.replication.data import load
from cnf.replication.measures import MEASURES, Setting
from cnf.replication.metrics import compute
from cnf.replication.results.rows import RESULTS
from cnf.replication.scored import model as scored_model
from cnf.replication.scored.model import ScoredModel
from cnf.replication.scored.options import Options
from tests.evaluation.toys import eyes, patches, told

stress = plugs.module("stress_tests", "metrics")

RUNS = ("sr-flow", "sr-baseline", "vessels-flow", "vessels-baseline")


def value(m, name, each=1, temperature=None):
    """Of `each` samples of each picture at each temperature."""
    samples = each * len(m.indices) * (len(stress.TEMPERATURES) if temperature is None else 1)
    return compute(MEASURES[name], m, Setting(temperature, samples)).value


# What is drawn label by label or block by block takes seconds a picture.
QUICK = [name for name in releases.SHA256 if "-ar-" not in name]
FAR = [(name, "far") for name in QUICK]


@pytest.mark.parametrize(
    ("name", "kind"), [*FAR, ("sr-flow-cpu-s0", "embedded"), ("vessels-flow-cpu-s0", "embedded")]
)
def test_released_models_stay_finite(name, kind, monkeypatch):
    """A few of the samples that their evaluations are made of."""
    monkeypatch.setattr(stress, "TEMPERATURES", stress.TEMPERATURES[-2:])
    model = releases.load(RESULTS / name / "weights.safetensors")
    task = model.config.task
    m = ScoredModel(model, load(f"{kind}-{task}", "test"), Options(limit=5))
    assert value(m, "nonfinite_samples") == value(m, "nonfinite_log_probs") == 0
    if "flow" in name:
        # six digits of float32 on data; far from them a digit or two less
        assert value(m, "reconstruction_error") < {"embedded": 1e-4, "far": 1e-2}[kind]
    if task == "sr":
        share = [value(m, "outside_range", temperature=t) for t in stress.TEMPERATURES]
        assert all(0 <= s < {"embedded": 0.02, "far": 0.6}[kind] for s in share)


@pytest.fixture
def blown_up(scored):
    """A flow that looks sound to a likelihood and cannot be inverted in float32."""

    def make(scale, bound=1e6):  # exp, as good as without a bound
        m = scored("sr-flow", load("embedded-sr", "test"), limit=4)
        torch.manual_seed(0)
        for layer in m.model.layers:
            if isinstance(layer, AffineCoupling):
                layer.scale = "softplus" if scale == "softplus" else "bounded"
                layer.max_log_scale = bound
                torch.nn.init.normal_(layer.net.last.weight, std=3.0)
        return m

    return make


@pytest.mark.parametrize("scale", ["softplus", "exp"])
def test_an_unbounded_scale_is_found_out_and_nothing_crashes(blown_up, scale):
    m = blown_up(scale)
    assert value(m, "nonfinite_samples") > 0 and value(m, "nonfinite_log_probs") > 0
    assert value(m, "outside_range", temperature=1.0) > 0.3
    assert value(m, "reconstruction_error") == stress.LOST


def test_the_same_weights_with_a_bound_stay_finite(blown_up):
    m = blown_up("exp", 1.5)
    assert value(m, "nonfinite_samples") == 0
    # but a bound alone does not keep the inverse: networks this steep amplify every rounding
    assert value(m, "reconstruction_error") > 0.01


@pytest.mark.parametrize("name", RUNS)
def test_counts_are_those_of_the_samples(scored, name, monkeypatch):
    """By hand, from planted values of v, before floor or threshold."""
    is_sr = name.startswith("sr")
    m = scored(name, load("embedded-sr", "test") if is_sr else eyes(size=(64, 64)), limit=2)
    shape = (2, 3, 32, 32) if is_sr else (2, 1, 64, 64)

    def planted(h, n=1, temperature=1.0, generator=None):
        v = torch.full((n, *shape), 0.5)
        v[0, 0, 0, 0, :2], v[0, 0, 0, 1, :3] = 1.0, -7.0
        if temperature == 1.2:
            v[:, 1, 0, 0, 0] = math.nan
        return v

    monkeypatch.setattr(m.model, "sample_given", planted)
    monkeypatch.setattr(m.model, "sample", lambda x, *_: torch.zeros(1, len(x), *shape[1:]))
    assert value(m, "nonfinite_samples", 3) == 3  # one picture of two, three samples
    size = 3 * torch.Size(shape).numel()
    if is_sr:
        assert value(m, "outside_range", 3, temperature=0.5) == 5 / size
        assert value(m, "outside_range", 3, temperature=1.2) == 8 / size
    assert value(m, "largest_value", 3, temperature=1.2) == 7.0


def test_samples_are_keyed_and_do_not_depend_on_how_many_are_drawn_at_once(scored, monkeypatch):
    def found(**options):
        m = scored("vessels-flow", eyes(), **options)
        return [value(m, "largest_value", 5, temperature=t) for t in stress.TEMPERATURES]

    together = found()
    monkeypatch.setattr(scored_model, "CHUNK", 3 * 2 * 16 * 20)
    assert found() == pytest.approx(together, rel=1e-5)  # float32, batches of other sizes
    assert found(seed=1) != together


@pytest.mark.parametrize("batch_size", [1, 2])
def test_one_lost_sample_loses_the_inverse_whatever_the_batch(scored, monkeypatch, batch_size):
    m = scored("sr-flow", load("embedded-sr", "test"), limit=3)
    m.batch_size, pictures = batch_size, iter(range(3))

    def planted(x, *_):
        lost = [math.nan if next(pictures) == 1 else 0.0 for _ in x]
        return torch.tensor(lost).view(1, -1, 1, 1, 1).expand(1, -1, 3, 32, 32)

    monkeypatch.setattr(m.model, "sample", planted)
    assert value(m, "reconstruction_error") == stress.LOST
    assert value(m, "nonfinite_log_probs") == 1


@pytest.mark.parametrize("name", RUNS)
def test_a_stress_test_tells_this(scored, name):
    m = scored(name, patches() if name.startswith("sr") else eyes(), samples=20)
    expected = {"nonfinite_samples", "largest_value", "nonfinite_log_probs"}
    expected |= {"reconstruction_error"} if name.endswith("flow") else set()
    expected |= {"outside_range"} if name.startswith("sr") else set()
    assert told(m, "stress") == expected
    # 20 samples at least: 4 of the patch, 2 of the three eyes, at 6 temperatures
    assert stress.per_picture(m) == (4 if name.startswith("sr") else 2)
    with pytest.raises(ConfigError, match="--samples 0: --stress needs 1 or more"):
        told(scored(name, m.images, samples=0), "stress")


def test_large_pictures_are_cut_to_their_middle(loaded):
    model, _ = loaded("sr-flow")
    y, x = torch.arange(100.0 * 72).reshape(1, 1, 100, 72), torch.zeros(1, 1, 50, 36)
    cut, half = stress.middle(model, y, x)
    assert cut.shape == (1, 1, 64, 64) and half.shape == (1, 1, 32, 32)
    assert (cut[0, 0, 0, 0] // 72, cut[0, 0, 0, 0] % 72) == (16, 4)  # the grid is 4


def test_metrics_agree_within_a_tolerance_or_a_factor():
    errors, share = MEASURES["reconstruction_error"], MEASURES["outside_range"]
    assert errors.agree(1e-3, 9e-3) and errors.agree(9e-3, 1e-3) and not errors.agree(1e-3, 2e-2)
    assert errors.agree(0.0, 5e-7) and not errors.agree(0.0, 1e-3)
    assert not errors.agree(math.nan, 1.0) and not errors.agree(1.0, math.nan)
    assert not share.agree(0.5, 0.5001)
    assert (errors.write(0.00012345), share.write(0.00012345)) == ("1.2e-04", "0.00012")


def test_the_v_that_is_counted_is_the_v_that_sample_rounds(scored, monkeypatch):
    m, found = scored("sr-flow", patches()), []
    draw = m.model.sample_given
    monkeypatch.setattr(m.model, "sample_given", lambda *a: found.append(draw(*a)) or found[-1])
    m.statistics(stress.StressTest).sampled(1.0, 3)
    keyed = noise.keyed(0, [0], stress.DRAW - stress.TEMPERATURES.index(1.0))
    y = m.model.sample(m.x(0)[None], 3, 1.0, keyed)
    assert torch.equal((found[0] * 256).floor().clamp(0, 255), y)
