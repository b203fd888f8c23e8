"""Every library of the bench does the same work, and each is a flow."""

import json
import math

import pytest
import torch

for library in ("FrEIA", "nflows", "normflows"):
    pytest.importorskip(library, reason=f"the bench needs {library}: pip install -e '.[bench]'")

from tools.bench import measure  # noqa: E402
from tools.bench.__main__ import Options, run, table, write  # noqa: E402
from tools.bench.measure import CANDIDATES, TASKS, Candidate, exponent  # noqa: E402
from tools.bench.work import Adapter, Work  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore:torch.triangular_solve is deprecated")

# No channel count is 10: a square 1x1 convolution of another width mixes the channels of y.
TINY = Work(batch=8, side=4, levels=2, depth=2, width=10, features=3)
EXACT = [c for c in CANDIDATES if not (c.autocast or c.options.get("bf16"))]
every_exact = pytest.mark.parametrize("candidate", EXACT, ids=lambda c: c.name)

# Float64 through eight steps. FrEIA's rotations are float32 numbers, and rotations to 1e-7 only.
TOLERANCE = {"FrEIA": 2e-5}


def build(candidate: Candidate, dtype=torch.float64) -> tuple[Adapter, torch.Tensor, list]:
    torch.manual_seed(0)
    model = candidate.adapter(TINY, **candidate.options).to(dtype)
    y, h = TINY.inputs(dtype=dtype)
    model.start(y, h)
    return model, y, h


def tolerance(candidate: Candidate) -> float:
    return TOLERANCE.get(candidate.name.split(",")[0], 1e-9)


@every_exact
def test_log_prob_is_the_change_of_variables(candidate):
    model, y, h = build(candidate)
    with torch.no_grad():
        log_prob = model.log_prob(y, h)
    for n in range(2):
        given = [t[n : n + 1] for t in h]

        def encode(y, given=given):
            return torch.cat([z.flatten() for z in model.encode(y, given)])

        z = encode(y[n : n + 1])
        jacobian = torch.autograd.functional.jacobian(encode, y[n : n + 1]).reshape(len(z), len(z))
        normal = -0.5 * z.square().sum() - 0.5 * len(z) * math.log(2 * math.pi)
        expected = normal + torch.linalg.slogdet(jacobian)[1]
        assert abs(expected - log_prob[n]) < tolerance(candidate)


@every_exact
def test_sampling_inverts_encoding(candidate):
    model, _, h = build(candidate)
    n = 5
    with torch.no_grad():
        for y, given in (
            (model.sample(h), h),
            (model.sample_many([t[:2] for t in h], n), [t[:2].repeat(n, 1, 1, 1) for t in h]),
        ):
            z = model.encode(y, given)
            assert (model.decode(z, given) - y).abs().max() < tolerance(candidate)
            z = torch.cat([part.flatten(1) for part in z], dim=1)
            assert z.shape == (len(given[0]), y[0].numel())
            # a mean of N squares of standard normals has standard deviation sqrt(2 / N)
            assert abs(z.square().mean() - 1) < 5 * math.sqrt(2 / z.numel())
            assert torch.unique(z[:, 0]).numel() == len(z)  # no sample twice


def test_quick_form_gives_every_row(tmp_path):
    results = run(Options(quick=True))
    names = [candidate.name for candidate in CANDIDATES]
    for clock in ("cpu", "wall"):
        assert list(results[clock]) == names
        for row in results[clock].values():
            assert list(row) == list(TASKS)
            assert all(cell["seconds"] > 0 and min(cell["ratio"]) > 0 for cell in row.values())
    assert results["cpu"]["FrEIA"]["train"]["ratio"] == [1.0, 1.0, 1.0]
    assert list(results["memory"]) == names
    assert results["memory"]["ours, recompute"]["train"]["saved"] > 0
    assert list(results["growth"]) == list(measure.FACTORS)
    results["machine"]["name"] = "Intel(R) Xeon(R) Processor"
    path = write(results, tmp_path)
    assert path.name == "intel-xeon-processor.json"
    lines = table(json.loads(path.read_text("utf-8"))).splitlines()
    for name in names:
        assert sum(line.startswith(name + " ") for line in lines) == 1


def test_exponent_is_the_slope_of_the_logarithms_with_its_error():
    # in logarithms to base 2 the points are (0, 0), (1, 1), (2, 3), with residuals 1/6, -1/3, 1/6
    assert exponent([1, 2, 4], [1.0, 2.0, 8.0]) == pytest.approx([1.5, 12**-0.5], rel=1e-12)
    assert exponent([1, 2], [3.0, 12.0]) == [pytest.approx(2), None]
