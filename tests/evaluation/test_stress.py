"""The stress test: what it counts, what it finds in the committed models, and that it can fail."""

import math

import pytest
import torch

from cnf import build, noise
from cnf.errors import ConfigError, DataError
from cnf.layers import AffineCoupling
from cnf.replication import audit, stress
from cnf.replication import results as ledger
from cnf.replication import scored_model as subjects
from cnf.replication.data import load
from cnf.replication.results import RESULTS
from cnf.replication.scored_model import Options, Subject

COMMITTED = sorted(p.parent.name for p in RESULTS.glob("*/weights.safetensors"))
RUNS = ("sr-flow", "sr-baseline", "vessels-flow", "vessels-baseline")


def found(model, config, images, each=1, **options):
    return list(stress.scores(Subject(model, config, images, Options(**options)), each))


def one(scores, metric, **fields):
    (score,) = [
        s
        for s in scores
        if s.metric == metric and all(getattr(s, k) == v for k, v in fields.items())
    ]
    return score


@pytest.mark.parametrize("kind", ["embedded", "far"])
@pytest.mark.parametrize("name", COMMITTED)
def test_committed_models_stay_finite(name, kind):
    """A few of the samples whose rows are in the ledger."""
    model = build.load(RESULTS / name / "weights.safetensors")
    config = model.config
    images = load(f"{kind}-{config.experiment}", "test")
    scores = found(model, config, images, limit=5)
    assert one(scores, "nonfinite_samples").value == 0
    assert one(scores, "nonfinite_samples").samples == 5 * 6
    assert one(scores, "nonfinite_log_probs").value == 0
    if "flow" in name:
        # six digits of float32 on data; far from them a digit or two less
        assert one(scores, "reconstruction_error").value < {"embedded": 1e-4, "far": 1e-2}[kind]
    if config.experiment == "sr":
        share = [one(scores, "outside_range", temperature=t).value for t in stress.TEMPERATURES]
        assert all(0 <= s < {"embedded": 0.02, "far": 0.6}[kind] for s in share)


@pytest.fixture
def blown_up(loaded):
    """A flow that looks sound to a likelihood and cannot be inverted in float32."""

    def make(scale):
        model, config = loaded("sr-flow")
        torch.manual_seed(0)
        for layer in model.layers:
            if isinstance(layer, AffineCoupling):
                layer.scale = "softplus" if scale == "softplus" else "bounded"
                layer.max_log_scale = 1e6  # exp, as good as without a bound
                torch.nn.init.normal_(layer.net.last.weight, std=3.0)
        return model, config

    return make


@pytest.mark.parametrize("scale", ["softplus", "exp"])
def test_an_unbounded_scale_is_found_out_and_nothing_crashes(blown_up, scale):
    model, config = blown_up(scale)
    scores = found(model, config, load("embedded-sr", "test"), limit=4)
    assert one(scores, "nonfinite_samples").value > 0
    assert one(scores, "outside_range", temperature=1.0).value > 0.3
    assert one(scores, "nonfinite_log_probs").value > 0
    assert one(scores, "reconstruction_error").value == stress.LOST


def test_the_same_weights_with_a_bound_stay_finite(blown_up):
    model, config = blown_up("exp")
    for layer in model.layers:
        if isinstance(layer, AffineCoupling):
            layer.max_log_scale = 1.5
    scores = found(model, config, load("embedded-sr", "test"), limit=4)
    assert one(scores, "nonfinite_samples").value == 0
    # but a bound alone does not keep the inverse: networks this steep amplify every rounding
    assert one(scores, "reconstruction_error").value > 0.01


@pytest.mark.parametrize("name", RUNS)
def test_counts_are_those_of_the_samples(loaded, name, monkeypatch):
    """By hand, from planted values of v, before floor or threshold."""
    model, config = loaded(name)
    images = load(f"embedded-{config.experiment}", "test")
    shape = (2, 3, 32, 32) if name.startswith("sr") else (2, 1, 64, 64)

    def planted(given, n=1, temperature=1.0, generator=None):
        v = torch.full((n, *shape), 0.5)
        v[0, 0, 0, 0, :2], v[0, 0, 0, 1, :3] = 1.0, -7.0
        if temperature == 1.2:
            v[:, 1, 0, 0, 0] = math.nan
        return v

    monkeypatch.setattr(model, "draw", planted)
    monkeypatch.setattr(model, "sample", lambda x, *_: torch.zeros(1, len(x), *shape[1:]))
    scores = found(model, config, images, each=3, limit=2)
    assert one(scores, "nonfinite_samples").value == 3  # one picture of two, three samples
    assert one(scores, "nonfinite_samples").samples == 2 * 3 * 6
    if name.startswith("sr"):
        size = 3 * torch.Size(shape).numel()
        assert one(scores, "outside_range", temperature=0.5).value == 5 / size
        assert one(scores, "outside_range", temperature=1.2).value == 8 / size
    assert one(scores, "largest_value", temperature=1.2).value == 7.0


def test_samples_are_keyed_and_do_not_depend_on_how_many_are_drawn_at_once(loaded, monkeypatch):
    model, config = loaded("vessels-flow")
    images = load("far-vessels", "test")
    together = found(model, config, images, each=5, limit=3)
    monkeypatch.setattr(subjects, "CHUNK", 3 * 2 * 64 * 64)
    apart = found(model, config, images, each=5, limit=3)
    for a, b in zip(together, apart, strict=True):
        assert ledger.METRICS[a.metric].agree(a.value, b.value)
    assert found(model, config, images, each=5, limit=3, seed=1) != together


@pytest.mark.parametrize("name", RUNS)
def test_rows_are_derived_again(make_run, tmp_path, name):
    results = tmp_path / "results"
    run = results / name
    run.mkdir(parents=True)
    (run / "weights.safetensors").write_bytes((make_run(name) / "weights.safetensors").read_bytes())
    rows = stress.stress(run, limit=2, samples=20, results=results)
    experiment = name.split("-")[0]
    assert {row.data for row in rows} == {f"embedded-{experiment}", f"far-{experiment}"}
    assert len(rows) == 2 * (8 + name.endswith("flow") + 6 * name.startswith("sr"))
    assert ledger.read(results) == rows and len({row.id for row in rows}) == len(rows)
    # 2 samples of 2 pictures at 6 temperatures
    assert {r.samples for r in rows if r.metric == "nonfinite_samples"} == {24}
    checks = audit.audit(results=results)
    assert [check.status for check in checks] == ["same"] * len(rows), audit.report(checks)
    assert all(row.command.endswith("--limit 2 --samples 20 --stress") for row in rows)
    assert "finite" in (run / "card.md").read_text()


def test_large_pictures_are_cut_to_their_middle(loaded):
    model, _ = loaded("sr-flow")
    y, x = torch.arange(100.0 * 72).reshape(1, 1, 100, 72), torch.zeros(1, 1, 50, 36)
    cut, half = stress.middle(model, y, x)
    assert cut.shape == (1, 1, 64, 64) and half.shape == (1, 1, 32, 32)
    assert (cut[0, 0, 0, 0] // 72, cut[0, 0, 0, 0] % 72) == (16, 4)  # the grid is 4


def test_bad_requests_are_named(make_run, tmp_path):
    with pytest.raises(ConfigError, match="--samples 0: --stress needs 1 or more"):
        stress.stress(make_run("sr-flow"), samples=0, results=tmp_path)
    with pytest.raises(DataError, match="no image set 'near-sr'"):
        stress.stress(make_run("sr-flow"), "near-sr", results=tmp_path)
    with pytest.raises(ConfigError, match="'far-vessels' is a set for vessels"):
        stress.stress(make_run("sr-flow"), "far-vessels", results=tmp_path)


def test_metrics_agree_within_a_tolerance_or_a_factor():
    errors, share = ledger.METRICS["reconstruction_error"], ledger.METRICS["outside_range"]
    assert errors.agree(1e-3, 9e-3) and errors.agree(9e-3, 1e-3) and not errors.agree(1e-3, 2e-2)
    assert errors.agree(0.0, 5e-7) and not errors.agree(0.0, 1e-3)
    assert not errors.agree(math.nan, 1.0) and not errors.agree(1.0, math.nan)
    assert not share.agree(0.5, 0.5001)
    assert (errors.write(0.00012345), share.write(0.00012345)) == ("1.2e-04", "0.00012")


def test_a_flow_without_noise_of_its_own_is_drawn_with_that_of_the_seed(loaded):
    """The v that is counted is the v that `sample` rounds."""
    model, _ = loaded("sr-flow")
    x = 255 * torch.rand(2, 3, 8, 8)
    (v,) = stress.draws(model, x, 3, 1.0, noise.keyed(0, [0, 1]), 1)
    y = model.sample(x, 3, 1.0, noise.keyed(0, [0, 1]))
    assert torch.equal((v * 256).floor().clamp(0, 255), y.flatten(0, 1))
