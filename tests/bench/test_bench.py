"""Every library of the bench does the same work, and each is a flow."""

import json
import math
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode, flop_registry

for library in ("FrEIA", "nflows", "normflows"):
    pytest.importorskip(library, reason=f"the bench needs {library}: pip install -e '.[bench]'")

from tools.bench import measure  # noqa: E402
from tools.bench.__main__ import Options, run, table, write  # noqa: E402
from tools.bench.measure import CANDIDATES, TASKS, Candidate, Runner, exponent  # noqa: E402
from tools.bench.ours import Ours  # noqa: E402
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


@contextmanager
def counted() -> Iterator[list[int]]:
    """The FLOPs of every convolution inside the networks of couplings."""
    aten, flops = torch.ops.aten, []

    def formula(op, weight):
        def count(*args, out_val=None, **options):
            found = flop_registry[op](*args, out_val=out_val, **options)
            out_channels, in_channels, *kernel = args[weight].shape
            mixes = kernel == [1, 1] and out_channels == in_channels != TINY.width
            squeezes = kernel == [2, 2]  # FrEIA writes its squeeze as a convolution
            if not (mixes or squeezes):
                flops.append(found)
            return found

        count._get_raw = True
        return count

    mapping = {
        aten.convolution: formula(aten.convolution, 1),
        aten.convolution_backward: formula(aten.convolution_backward, 2),
    }
    with FlopCounterMode(display=False, custom_mapping=mapping):
        yield flops


def by_hand(work: Work) -> int:
    """FLOPs of the networks, forward: 2 a multiplication."""
    total = 0
    for channels, side in work.shapes:
        kept, out = channels - channels // 2, 2 * (channels // 2)
        weights = 9 * (kept + work.features) * work.width + work.width**2 + 9 * work.width * out
        total += 2 * work.batch * work.depth * side**2 * weights
    return total


@every_exact
def test_networks_cost_the_same_flops(candidate):
    model, y, h = build(candidate)
    with counted() as flops:
        loss = -model.log_prob(y, [t.requires_grad_() for t in h]).mean()
    assert sum(flops) == by_hand(TINY)
    if not candidate.options.get("recompute"):  # the counter cannot follow a backward in backward
        with counted() as flops:
            loss.backward()
        # each convolution once for its weights and once for its input
        assert sum(flops) == 2 * by_hand(TINY)
    with counted() as flops, torch.no_grad():
        model.sample(h)
    assert sum(flops) == by_hand(TINY)


@every_exact
def test_parameters_are_as_many_up_to_the_stated_differences(candidate):
    ours = Ours(TINY)
    model = candidate.adapter(TINY, **candidate.options)
    difference = {
        "FrEIA": -sum(TINY.depth * channels**2 for channels, _ in TINY.shapes),  # fixed rotations
        "nflows": sum(TINY.depth * channels for channels, _ in TINY.shapes),  # biases
    }.get(candidate.name.split(",")[0], 0)
    assert count(model) - count(ours) == difference


def count(model: torch.nn.Module) -> int:
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


@pytest.mark.parametrize("candidate", CANDIDATES, ids=lambda c: c.name)
def test_saved_tensors_are_all_that_is_kept(candidate):
    """A custom function could keep activations where the hooks of autograd do not see them; the
    allocator sees them."""
    runner = Runner(candidate, Work(batch=4, depth=2), "cpu")
    saved = runner.saved()
    activities = [torch.profiler.ProfilerActivity.CPU]
    with torch.profiler.profile(activities=activities, profile_memory=True) as profile:
        loss = runner.loss()
    kept = sum(event.self_cpu_memory_usage for event in profile.key_averages()) / 2**20
    assert loss.requires_grad
    # the loss itself and a few scalars are kept without being saved
    assert kept < 1.01 * saved + 0.02


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
