"""Several processes are one: same pictures, same gradients, same numbers, one voice.

Two processes of one machine, joined by gloo. All that is compared was computed in processes started
alike, one or two of them.
"""

import contextlib
import io
import math
import os
import re
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from cnf.replication import cli, distributed, releases, run_folder, training
from cnf.replication.config import build, from_dict
from cnf.replication.data import Example, ImageSet
from cnf.replication.tasks import SR
from cnf.replication.training import curves
from tests.training.conftest import context

REPOSITORY = Path(__file__).resolve().parents[2]
SIZES = {"train": 12, "valid": 5}
TIMEOUT = 180  # seconds; what does not hang takes one or two where nothing else runs


def load(name: str, split: str) -> ImageSet:
    """A few small pictures, the same ones on every call, all different."""
    generator = torch.Generator().manual_seed(len(split))
    examples = []
    for i in range(SIZES[split]):
        y = torch.randint(256, (3, 8, 8), generator=generator, dtype=torch.uint8)
        if name == "embedded-sr":
            examples.append(Example(f"{split}-{i}", y))
        else:
            examples.append(Example(f"{split}-{i}", (y[:1] > 128).to(torch.uint8), y))
    return ImageSet(
        name, split, "pictures" if "sr" in name else "labelled", examples, "test pictures"
    )


def configure(task: str = "sr", features: str = "vgg", **options):
    """A tiny flow; x is rounded, so that no sum over the batch can round it otherwise. Of the
    features for vessels, "unet" has batch norm and "vgg" has not."""
    options = {"steps": 8, "batch_size": 4, "warmup": 0, "validate_every": 4} | options
    model = {"levels": 1, "steps": 2, "width": 4}
    if task == "sr":
        model |= {"kind": "subband-flow", "dequantization": "uniform"}
        model |= {"features": {"kind": "residual", "channels": 4, "blocks": 1}}
    else:
        model |= {"kind": "likelihood_alone/with_pixel_loss", "dequantization": "binary"}
        model |= {"features": {"kind": features, "channels": 4, "scales": 2}}
    data = {"train": f"embedded-{task}", "round_x": task == "sr", "crop": 8}
    values = {"task": task, "preset": "test", "model": model, "data": data}
    return from_dict(values | {"training": options})


def in_double(config):
    """The model in float64, its weights moved away from their start, where couplings do nothing."""
    model = build(config).double()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            parameter.add_(0.1 * noise)
    return model


real_load = training.run.load


def child(function, args, rank, processes, port, pipe):
    """What a started process does: join the group, call, send what came of it."""
    torch.set_num_threads(1)
    training.run.load = load
    curves.training_curves = lambda history, path, unit: path.touch()
    if processes > 1:
        number, total = str(rank), str(processes)
        os.environ |= {"RANK": number, "LOCAL_RANK": number, "OMP_NUM_THREADS": "1"}
        os.environ |= {"WORLD_SIZE": total, "LOCAL_WORLD_SIZE": total}
        os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    try:
        found, error = function(*args), None
    except (Exception, KeyboardInterrupt) as caught:
        found, error = f"{type(caught).__name__}: {caught}", caught
    buffer = io.BytesIO()
    torch.save(found, buffer)
    pipe.send_bytes(buffer.getvalue())
    distributed.end_group(error)


def start(processes, function, *args):
    """What `function` of this file returns, or the error it raises, in each of so many processes.

    Fails if one of them does not end.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    pipes = [context.Pipe(duplex=False) for _ in range(processes)]
    workers = [
        context.Process(target=child, args=(function, args, rank, processes, port, pipe))
        for rank, (_, pipe) in enumerate(pipes)
    ]
    for worker in workers:
        worker.start()
    end = time.monotonic() + TIMEOUT
    try:
        found = []
        for receiver, _ in pipes:
            if not receiver.poll(max(0.0, end - time.monotonic())):
                pytest.fail(f"{function.__name__}: a process still runs after {TIMEOUT} s")
            found.append(torch.load(io.BytesIO(receiver.recv_bytes()), weights_only=False))
        for worker in workers:
            worker.join(max(0.0, end - time.monotonic()))
            assert worker.exitcode == 0
    finally:
        for worker in workers:
            worker.kill()
    return found


# -- one step --------------------------------------------------------------------------------------


def gradients(config):
    """Of one update, with what it logs and the buffers it leaves."""
    training.run.build = in_double
    run = training.Run.build(config, seed=0, device="cpu")
    run.steps, found = 1, {}

    def keep(*_, **__):
        found.update((n, p.grad.clone()) for n, p in run.model.named_parameters())

    run.optimizer.step = keep
    training.update(run)
    return found | dict(run.model.named_buffers()), run.sums


# (processes, options) that give what one process gives
ALIKE = {
    "sr": [(2, {}), (2, {"accumulate": 2}), (1, {"accumulate": 4}), (2, {"recompute": True})],
    "vessels": [(2, {})],
}


@pytest.mark.equation("eq-many-mean")
@pytest.mark.parametrize("task", ALIKE)
def test_gradients_are_those_of_one_process_with_the_joined_batch(task):
    ((expected, logs),) = start(1, gradients, configure(task, clip_norm=None))
    assert max(t.abs().max() for t in expected.values() if t.is_floating_point()) > 0.1
    for processes, options in ALIKE[task]:
        found = start(processes, gradients, configure(task, clip_norm=None, **options))
        for tensors, sums in found:
            # float64: sums of some hundred numbers of size 1, in another order
            torch.testing.assert_close(tensors, expected, atol=1e-10, rtol=1e-10)
            assert all(torch.equal(found[0][0][name], tensors[name]) for name in expected)
            sums.pop("reconstruction_error_max", None)
            # logs are float32
            assert sums == pytest.approx(logs, rel=1e-5)


def test_batch_norm_on_cpus_sees_its_own_pictures_and_keeps_the_mean_of_what_all_saw():
    config = configure("vessels", "unet", clip_norm=None)
    ((expected, _),) = start(1, gradients, config)
    (found, _), (other, _) = start(2, gradients, config)
    assert all(torch.equal(found[name], other[name]) for name in expected)
    # what the first batch norm sees depends on no statistics yet
    mean, variance = (f"features.down.0.1.running_{name}" for name in ("mean", "var"))
    torch.testing.assert_close(found[mean], expected[mean], atol=1e-10, rtol=1e-10)
    # how much the parts' means differ is missing, and a little by n / (n - 1) is too much
    assert (found[variance] < 1.01 * expected[variance]).all()
    assert not torch.allclose(found[variance], expected[variance], rtol=1e-4)


# -- the data --------------------------------------------------------------------------------------


def shown(config, steps):
    """{step: (indices, pictures)} of this process's share."""
    run, indices = training.Run.build(config, seed=0, device="cpu"), []
    real = SR.batch

    def make_batch(images, chosen, *args):
        indices.extend(chosen)
        return real(images, chosen, *args)

    SR.batch, found = make_batch, {}
    for step in range(steps):
        indices.clear()
        parts = run.parts(step)
        found[step] = list(indices), torch.cat([y for y, _, _ in parts])
    return found


def test_an_epoch_shows_every_picture_once_whatever_the_number_of_processes():
    config = configure()
    (whole,) = start(1, shown, config, 3)
    both = start(2, shown, replace(config, training=replace(config.training, accumulate=2)), 3)
    seen = [index for share in both for indices, _ in share.values() for index in indices]
    assert sorted(seen) == list(range(SIZES["train"]))
    for step, (indices, pictures) in whole.items():
        assert both[0][step][0] + both[1][step][0] == indices
        # augmented alike, too
        assert torch.equal(torch.cat([share[step][1] for share in both]), pictures)


def test_a_batch_that_cannot_be_shared_is_refused_with_all_three_numbers():
    for found in start(2, training.Run.build, configure(batch_size=8, accumulate=3), 0, "cpu"):
        assert found.startswith("ConfigError") and "choose a multiple of 6" in found
        assert "batch_size = 8" in found and "2 process" in found and "accumulate = 3" in found


# -- a run -----------------------------------------------------------------------------------------


def trained(config, out, resume=False, stop_at=None, double=False):
    """Train and return the run's state as this process holds it; first and last.

    stop_at: before this update, the last process alone gets a signal.
    """
    if double:
        training.run.build = in_double
    kept, update, build = [], training.loop.update, training.Run.build

    def building(*args):
        kept.append(build(*args))
        kept.append(tensors(kept[0]))
        return kept[0]

    def updating(run):
        if run.step == stop_at and distributed.rank() == distributed.count() - 1:
            os.kill(os.getpid(), signal.SIGINT)
        return update(run)

    training.Run.build, training.loop.update = building, updating
    try:
        training.train(config, out, resume=resume, device="cpu")
    except KeyboardInterrupt:
        assert stop_at is not None
    run, first = kept
    return {"step": run.step, "best": run.best, "first": first, "last": tensors(run)}


def tensors(run):
    state = {"model": run.model, "average": run.average}
    found = {f"{k}.{n}": t.clone() for k, m in state.items() for n, t in m.state_dict().items()}
    for number, moments in run.optimizer.state_dict()["state"].items():
        found |= {f"optimizer.{number}.{name}": t.clone() for name, t in moments.items()}
    return found


def test_all_processes_hold_the_same_run_and_it_is_that_of_one(tmp_path, same):
    config = configure(ema=0.5)
    (one,) = start(1, trained, config, tmp_path / "one", False, None, True)
    first, second = start(2, trained, config, tmp_path / "two", False, None, True)
    assert same(first["first"], second["first"]) and same(first["last"], second["last"])
    assert first["step"] == second["step"] == 8 and first["best"] == second["best"]
    # all of them began from the whole first batch: ActNorm's start is the same bit for bit
    assert same(first["first"], one["first"])
    # float64; Adam divides rounding errors of 1e-16 by gradients down to its 1e-8
    torch.testing.assert_close(first["last"], one["last"], atol=1e-6, rtol=1e-6)
    history = [run_folder.read_history(tmp_path / name) for name in ("one", "two")]
    for line, other in zip(*history, strict=True):
        for name in ("bits_per_dim", "grad_norm", "grad_norm_max", "valid_bits_per_dim"):
            assert other[name] == pytest.approx(line[name], rel=1e-5)  # sums in float32
    assert run_folder.read_record(tmp_path / "two")["processes"] == 2


def test_with_batch_norm_on_cpus_all_processes_hold_the_same_run_but_another_one(tmp_path, same):
    config = configure("vessels", "unet", ema=0.5)
    (one,) = start(1, trained, config, tmp_path / "one", False, None, True)
    first, second = start(2, trained, config, tmp_path / "two", False, None, True)
    assert same(first["first"], one["first"])
    assert same(first["last"], second["last"]) and first["best"] == second["best"]
    assert all(torch.isfinite(t).all() for t in first["last"].values())
    moved = [(first["last"][k].double() - t.double()).abs().max() for k, t in one["last"].items()]
    assert max(moved) > 1e-3


@pytest.mark.parametrize("before, after", [(2, 1), (1, 2)])
def test_a_run_goes_on_with_another_number_of_processes(tmp_path, before, after):
    (whole,) = start(1, trained, configure(), tmp_path / "whole", False, None, True)
    # The signal reaches one process only: all stop after the same step.
    for state in start(before, trained, configure(), tmp_path / "cut", False, 4, True):
        assert state["step"] == 5
    for state in start(after, trained, None, tmp_path / "cut", True, None, True):
        assert state["step"] == 8
        # float64; Adam divides rounding errors of 1e-16 by gradients down to its 1e-8
        torch.testing.assert_close(state["last"], whole["last"], atol=1e-6, rtol=1e-6)
    model = releases.load(tmp_path / "cut" / "weights.safetensors")
    assert model.state_dict().keys() == build(configure()).state_dict().keys()


def validated(config):
    run = training.Run.build(config, seed=0, device="cpu")
    run.sums = {"updates": 1, "grad_norm_max": 0.0, "nats": 0.0, "loss": 0.0}
    run.step = run.steps = 1
    return training.validate(run)["valid_bits_per_dim"]


def test_validation_is_bit_for_bit_that_of_one_process():
    config = configure("vessels", "unet", batch_size=2)  # 5 pictures: groups of 2, 2 and 1
    (expected,) = start(1, validated, config)
    assert start(2, validated, config) == [expected, expected]


def budget(config):
    training.budget.PROBE_STEPS = 2
    return training.start_run(training.Run.build(config, seed=0, device="cpu"), Path("it"))["steps"]


def test_minutes_become_the_same_number_of_steps_everywhere():
    first, second = start(2, budget, configure(steps=None, minutes=1000.0))
    assert first == second > 0


# -- what ends all of them -------------------------------------------------------------------------


def failing(config, out, where, rank, error):
    """Train while `where` fails in process `rank`."""
    if int(os.environ["RANK"]) == rank:
        getattr(sys.modules[__name__], f"break_{where}")(error)
    training.train(config, out, device="cpu")


def break_data(error):
    real, calls = SR.batch, []

    def make_batch(*args):
        calls.append(args)
        if len(calls) > 3:
            raise error
        return real(*args)

    SR.batch = make_batch


def break_disk(error):
    def replace_file(*_):
        raise error

    save = training.checkpoints.save_weights

    def broken(run, path):
        os.replace = replace_file
        save(run, path)

    training.checkpoints.save_weights = broken


def break_weights(error):
    update = training.loop.update

    def poisoned(run):
        if run.step == 2:
            next(run.model.features.parameters()).data.fill_(math.nan)
        return update(run)

    training.loop.update = poisoned


@pytest.mark.parametrize(
    "where, rank, error, messages",
    [
        (
            "data",
            1,
            ZeroDivisionError("oops"),
            [
                r"TrainingError: process 1 failed \(ZeroDivisionError: oops\)",
                "ZeroDivisionError: oops",
            ],
        ),
        ("disk", 0, OSError("No space left"), ["TrainingError: .* could not be .*No space.*"] * 2),
        ("weights", 1, None, ["TrainingError: the loss of step 3 .* layer 'features.*"] * 2),
    ],
    ids=["unexpected", "disk-full", "not-finite"],
)
def test_an_error_of_one_process_ends_all_with_its_message(tmp_path, where, rank, error, messages):
    found = start(2, failing, configure(), tmp_path, where, rank, error)
    assert all(map(re.fullmatch, messages, found)), found


def commanded(*words):
    """Exit code and standard error of a command."""
    with contextlib.redirect_stderr(io.StringIO()) as said:
        return cli.main(list(words)), said.getvalue()


def test_the_main_process_alone_says_what_was_wrong(tmp_path):
    (tmp_path / "last.pt").touch()
    line = f"error: {tmp_path} already holds a run: go on with --resume {tmp_path}, or choose "
    found = start(2, commanded, "train", "sr", "--out", str(tmp_path), "--device", "cpu")
    assert found == [(2, f"{line}another --out\n"), (2, "")]


def test_a_folder_in_use_ends_all_processes(tmp_path):
    with run_folder.locked(tmp_path):
        for text in start(2, trained, configure(), tmp_path):
            assert text.startswith(f"TrainingError: another run is writing to {tmp_path}")


# -- the launchers ---------------------------------------------------------------------------------


def launch(folder, *words):
    """Run a program of the environment in `folder`: (exit code, output, errors)."""
    environment = {k: v for k, v in os.environ.items() if k != "CNF_DATA"}
    environment |= {"PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"}
    environment |= {"CUDA_VISIBLE_DEVICES": ""}
    program = Path(sys.executable).parent / words[0]
    done = subprocess.run(
        [program, *words[1:]],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
    )
    return done.returncode, done.stdout, done.stderr


LAUNCHERS = [
    ["torchrun", "--nproc-per-node", "2"],
    ["accelerate", "launch", "--multi_gpu", "--num_processes", "2"],
]


@pytest.mark.slow("launchers, which begin processes of their own")
@pytest.mark.parametrize("launcher", LAUNCHERS, ids=lambda words: words[0])
def test_a_launcher_goes_on_with_a_run_in_one_voice(tmp_path, monkeypatch, launcher):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(training.run, "load", real_load)  # the launched processes have no other
    small = "training.validate_every=2", "training.validate_images=2", "model.width=8"
    begin = "train", "sr", "--steps", "4", "--max-minutes", "1e-6", "--out", "run"
    assert cli.main([*begin, *(f"--set={words}" for words in small)]) == 0
    code, said, errors = launch(tmp_path, *launcher, "-m", "cnf", "train", "sr", "--resume", "run")
    assert code == 0, errors
    assert [line.split()[0] for line in said.splitlines()] == ["step", "step", "run:"]
    assert [line["step"] for line in run_folder.read_history(tmp_path / "run")] == [2, 4]


@pytest.mark.parametrize("command", ["evaluate run", "sample run", "train sr --dry-run"])
def test_what_runs_in_one_process_refuses_several(monkeypatch, capsys, command):
    monkeypatch.setattr(distributed, "end_group", lambda error: None)
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert cli.main(command.split()) == 2
    assert "runs in one process, 2 were launched" in capsys.readouterr().err
