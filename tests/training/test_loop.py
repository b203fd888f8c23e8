"""What a run learns, and that it is the same run however it is cut."""

import json
import math
import os
import shlex
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.axes import Axes
from torch import nn

from cnf import noise
from cnf.errors import CheckpointError, ConfigError, TrainingError
from cnf.layers import AffineCoupling
from cnf.replication import distributed, places, releases, run_folder, training
from cnf.replication.config import build, load_config, to_dict
from cnf.replication.data import Example, ImageSet
from cnf.replication.run_folder import command_lines
from cnf.replication.tasks import SR
from cnf.replication.training import optimizers
from cnf.replication.training.diagnose import first_non_finite
from tests.training.conftest import pictures


def test_overfits_the_pictures_it_sees(tmp_path, configure, history):
    config = configure(steps=60, lr=1e-2, schedule="constant", validate_every=10)
    # of whole pictures: of the residual in subbands there is little left to learn
    model = config.model | {"kind": "glow"}
    config = replace(config, model=model, data=replace(config.data, augment=False))
    training.train(config, tmp_path)
    bits = [line["bits_per_dim"] for line in history(tmp_path)]
    # 2.6 bits/dim are gained here; without gradients nothing is (the noise moves it by 0.02).
    assert bits[-1] < bits[0] - 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_leaves_a_checkpoint_and_the_old_handlers(
    tmp_path, configure, at_step, state, number
):
    before = signal.getsignal(number)
    at_step(5, lambda run: os.kill(os.getpid(), number))
    with pytest.raises(KeyboardInterrupt, match=f"step 6.*--resume {tmp_path}"):
        training.train(configure(), tmp_path)
    assert state(tmp_path)["step"] == 6
    assert signal.getsignal(number) is before


@pytest.mark.parametrize("stop", [1, 4, 6], ids=lambda k: f"after_{k}")
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_resume_equals_the_uninterrupted_run_bit_for_bit(
    tmp_path, configure, at_step, state, history, same, stop, precision
):
    config = configure(optimizer="amsgrad", precision=precision)
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    training.train(config, whole, seed=3)
    at_step(stop - 1, lambda run: os.kill(os.getpid(), signal.SIGINT))
    with pytest.raises(KeyboardInterrupt):
        training.train(config, cut, seed=3)
    assert state(cut)["step"] == stop
    training.train(None, cut, resume=True)
    assert same(state(cut), state(whole))
    assert history(cut) == history(whole)
    saved = [releases.load(out / "weights.safetensors") for out in (cut, whole)]
    assert same(*(dict(model.state_dict()) for model in saved))
    assert saved[0].metadata == saved[1].metadata


@pytest.mark.parametrize("precision, supported", [("bf16", False), ("bf16", True), ("fp32", False)])
def test_emulated_bfloat16_is_announced(monkeypatch, configure, capsys, precision, supported):
    """oneDNN takes bfloat16 from AVX-512 on, where it is still emulated."""
    has = {"avx512": True, "avx512_bf16": supported}
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: has)
    monkeypatch.setattr(distributed, "bf16_share", lambda: 0.5)
    training.Run.build(configure(precision=precision), 0)
    announced = "--set training.precision=fp32" in capsys.readouterr().out
    assert announced == (precision == "bf16" and not supported)


@pytest.mark.parametrize(("share", "taken"), [(1.4, "fp32"), (0.95, "fp32"), (0.6, "bf16")])
def test_a_preset_in_bfloat16_is_trained_in_it_only_where_that_is_measured_to_be_faster(
    monkeypatch, configure, capsys, share, taken
):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True})
    monkeypatch.setattr(distributed, "bf16_share", lambda: share)
    config = training.with_fast_precision(configure(precision="bf16"), "auto")
    assert config.training.precision == taken
    assert ("not faster in bfloat16" in capsys.readouterr().out) == (taken == "fp32")
    assert training.with_fast_precision(configure(), "auto") == configure()  # fp32 stays


def test_the_measurement_of_bfloat16_is_made_once_and_draws_no_random_number():
    distributed.bf16_share.cache_clear()
    torch.manual_seed(0)
    shares = [distributed.bf16_share() for _ in range(2)]
    drawn = torch.rand(3)
    torch.manual_seed(0)
    assert torch.equal(drawn, torch.rand(3))
    assert shares[0] == shares[1] > 0


def test_a_crash_after_a_checkpoint_repeats_the_lines_it_wrote_since(
    tmp_path, configure, state, history, same
):
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    training.train(configure(), whole)
    training.train(configure(), cut, max_minutes=1e-9)
    first = (cut / "last.pt").read_bytes()
    training.train(None, cut, resume=True)
    (cut / "last.pt").write_bytes(first)  # as if it had been killed before the next checkpoint
    with (cut / "history.jsonl").open("a") as file:
        file.write('{"step": 11, "bits')  # and while it wrote a line
    training.train(None, cut, resume=True)
    assert history(cut) == history(whole)
    assert same(state(cut), state(whole))


def test_max_minutes_ends_the_slice_and_keeps_the_budget(tmp_path, configure, state):
    training.train(configure(), tmp_path, max_minutes=1e-9)
    assert (state(tmp_path)["step"], state(tmp_path)["steps"]) == (0, 10)
    training.train(None, tmp_path, resume=True)
    assert state(tmp_path)["step"] == 10


def test_minutes_become_steps_once_and_are_stored(tmp_path, configure, monkeypatch, state):
    monkeypatch.setattr(training.budget, "probe", lambda run: (0.5, 2.0))
    config = configure(steps=None, minutes=0.2, validate_every=4)
    training.train(config, tmp_path, max_minutes=1e-9)
    # 12 s, at 0.5 s an update and 2 s / 4 for its share of a validation
    assert run_folder.read_record(tmp_path)["steps"] == 12
    monkeypatch.setattr(training.budget, "probe", lambda run: pytest.fail("probed again"))
    training.train(None, tmp_path, resume=True)
    assert state(tmp_path)["step"] == 12


def test_the_probe_leaves_no_trace_in_training(tmp_path, configure, monkeypatch, state, same):
    monkeypatch.setattr(training.budget, "steps_in", lambda *_: 6)
    training.train(configure(steps=None, minutes=1), tmp_path / "minutes")
    training.train(configure(steps=6), tmp_path / "steps")
    by_minutes, by_steps = state(tmp_path / "minutes"), state(tmp_path / "steps")
    assert by_minutes.pop("config") != by_steps.pop("config")
    assert same(by_minutes, by_steps)


def test_every_epoch_shows_every_picture_once(configure, monkeypatch):
    run = training.Run.build(configure(), seed=0)
    seen = []
    real = SR.batch
    monkeypatch.setattr(
        SR,
        "batch",
        lambda d, indices, *a, **k: seen.extend(indices) or real(d, indices, *a, **k),
    )
    for step in range(6):  # 24 pictures: 4 epochs of 6, across batches of 4
        run.batch(step)
    epochs = np.array(seen).reshape(4, 6)
    assert (np.sort(epochs, axis=1) == np.arange(6)).all()
    assert len({tuple(epoch) for epoch in epochs.tolist()}) > 1


def test_every_step_has_its_own_noise_and_augmentation(configure, monkeypatch):
    run = training.Run.build(configure(), seed=0)
    drawn = torch.stack([torch.rand(4, generator=run.generator(step)) for step in range(3)])
    assert len(drawn.unique()) == 12
    assert run.generator(2).initial_seed() != noise.keyed(0, [2])[0].initial_seed()
    drawn, real = [], SR.batch

    def make_batch(images, indices, options, rngs=None):
        drawn.extend(rng.random() for rng in rngs or ())  # none: pictures of the validation
        return real(images, indices, options, rngs)

    monkeypatch.setattr(SR, "batch", make_batch)
    for one in (run, training.Run.build(configure(), seed=1)):
        for step in range(3):
            one.batch(step)
    assert len(set(drawn)) == 2 * 3 * 4  # every picture of every step, by seed
    assert not np.array_equal(training.batches.order(0, 0, 50), training.batches.order(1, 0, 50))


@pytest.mark.parametrize(
    "schedule, step, expected",
    [
        ("constant", 0, 0.25),
        ("constant", 3, 1.0),
        ("constant", 99, 1.0),
        ("cosine", 1, 0.5 * 0.5 * (1 + math.cos(math.pi / 100))),
        ("cosine", 50, 0.5),
        ("cosine", 100, 0.0),
        ("halving", 199_999, 1.0),
        ("halving", 200_000, 0.5),
        ("halving", 700_000, 0.125),
    ],
)
def test_learning_rate_follows_the_schedule(configure, schedule, step, expected):
    options = configure(lr=2.0, warmup=4, schedule=schedule).training
    # exact up to the rounding of a cosine
    assert optimizers.learning_rate(options, step, steps=100) == pytest.approx(
        2 * expected, abs=1e-12
    )


def test_a_constant_rate_cools_at_the_end_and_only_there(configure):
    options = configure(lr=2.0, warmup=0, schedule="constant", cool=0.2).training
    rates = [optimizers.learning_rate(options, step, steps=100) for step in (0, 80, 85, 95, 100)]
    # 1 - sqrt of the share of the cooling that is done
    assert rates == pytest.approx([2.0, 2.0, 1.0, 2 * (1 - 0.75**0.5), 0.0], abs=1e-12)


def test_the_average_follows_its_recursion(configure):
    run = training.Run.build(configure(ema=0.5, lr=1e-2), seed=0)
    run.steps = 8
    name = next(n for n, _ in run.model.named_parameters() if n.endswith("bias"))
    expected = run.model.state_dict()[name].double().clone()
    for step in range(8):
        training.update(run)
        decay = min(0.5, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * run.model.state_dict()[name].double()
    found = run.average.state_dict(keep_vars=True)[name]
    assert not torch.equal(found, run.model.state_dict()[name])
    # eight float32 roundings of numbers below 10
    torch.testing.assert_close(found.double(), expected, atol=1e-5, rtol=0)
    assert not found.requires_grad  # it would keep the graphs of all steps


def test_the_average_holds_the_statistics_of_batch_norm(monkeypatch):
    """Weights averaged without them would be validated, kept and published beside those of the
    first batch."""

    def eyes(name, split):
        photographs = pictures(split, 4, side=16)
        examples = [Example(e.name, (e.y[:1] > 128).to(torch.uint8), e.y) for e in photographs]
        return ImageSet(name, split, "labelled", examples, "test pictures")

    monkeypatch.setattr(training.run, "load", eyes)
    options = ["training.ema=0.5", "training.batch_size=2", "data.crop=16"]
    run = training.Run.build(load_config("vessels-flow-smoke", options), seed=0)
    run.steps = 4
    names = [n for n, _ in run.model.named_buffers() if n.endswith(("running_mean", "running_var"))]
    expected = {name: run.model.state_dict()[name].double().clone() for name in names}
    begun = dict(expected)
    for step in range(4):
        training.update(run)
        decay = min(0.5, (1 + step) / (10 + step))
        for name in names:
            now = run.model.state_dict()[name].double()
            expected[name] = decay * expected[name] + (1 - decay) * now
    found = run.average.state_dict()
    assert names and not any(torch.equal(found[name].double(), begun[name]) for name in names)
    for name in names:  # four roundings in float32
        torch.testing.assert_close(found[name].double(), expected[name], atol=1e-5, rtol=1e-5)
    counters = [name for name in found if name.endswith("num_batches_tracked")]
    assert {found[name].item() for name in counters} == {5}  # the first batch, and four steps


def test_the_gradient_is_clipped_and_its_norm_logged_unclipped(configure, monkeypatch):
    run = training.Run.build(configure(clip_norm=1e-3), seed=0)
    run.steps = 1
    norms = []

    def step(*_, **__):
        norms.append(nn.utils.get_total_norm([p.grad for p in run.model.parameters()]).item())

    monkeypatch.setattr(run.optimizer, "step", step)
    training.update(run)
    assert norms[0] == pytest.approx(1e-3, rel=1e-3)  # torch divides by the norm + 1e-6
    assert run.sums["grad_norm"] > 1e-2


def test_the_best_validation_is_kept_and_its_weights_are_the_averaged_ones(
    tmp_path, configure, monkeypatch, state, history, same
):
    values = {4: 3.0, 8: 1.0, 10: 2.0}
    averages = {}

    def bits(run, indices):
        averages[run.step] = {k: v.clone() for k, v in run.average.state_dict().items()}
        return [values[run.step]] * len(indices)

    monkeypatch.setattr(training.validation, "bits_per_dim", bits)
    training.train(configure(), tmp_path)
    model = releases.load(tmp_path / "weights.safetensors")
    metadata = model.metadata
    assert metadata["step"] == "8"
    assert same(dict(model.state_dict()), averages[8])
    assert not same(averages[8], averages[10])
    assert [line["best"] for line in history(tmp_path)] == [True, True, False]
    assert (state(tmp_path)["step"], state(tmp_path)["best"]) == (10, 1.0)


def test_a_run_that_trains_on_the_validation_split_keeps_its_last_weights(
    tmp_path, configure, monkeypatch, history
):
    """A best would be chosen on pictures that it was trained on."""
    values = {4: 3.0, 8: 1.0, 10: 2.0}
    monkeypatch.setattr(
        training.validation, "bits_per_dim", lambda run, i: [values[run.step]] * len(i)
    )
    config = configure()
    config = replace(config, data=replace(config.data, use_valid=True))
    run = training.Run.build(config, seed=0)
    assert [e.name for e in run.data][-len(run.valid) :] == [e.name for e in run.valid]
    assert len(run.data) == len(training.Run.build(configure(), seed=0).data) + len(run.valid)
    training.train(config, tmp_path)
    metadata = releases.load(tmp_path / "weights.safetensors").metadata
    assert (metadata["step"], metadata["valid_bits_per_dim"]) == ("10", "2.0")
    assert [line["best"] for line in history(tmp_path)] == [True, True, True]
    assert run_folder.read_record(tmp_path)["data"]["train"]["images"] == 6 + 5


def test_a_run_that_is_validated_once_at_its_end_keeps_its_last_weights(
    tmp_path, configure, monkeypatch, history
):
    """So the pictures that a fold holds out have not chosen its weights, and may calibrate."""
    values = {4: 1.0, 8: 2.0, 10: 3.0}
    monkeypatch.setattr(
        training.validation, "bits_per_dim", lambda run, i: [values[run.step]] * len(i)
    )
    for every, kept in ((4, "4"), (10, "10")):
        config = configure(validate_every=every)
        training.train(config, tmp_path / kept)
        assert releases.load(tmp_path / kept / "weights.safetensors").metadata["step"] == kept
    assert [line["best"] for line in history(tmp_path / "10")] == [True]


def test_the_best_validation_is_remembered_across_a_resume(
    tmp_path, configure, monkeypatch, at_step, history
):
    values = {4: 1.0, 8: 2.0, 10: 3.0}
    monkeypatch.setattr(
        training.validation, "bits_per_dim", lambda run, indices: [values[run.step]] * len(indices)
    )
    at_step(5, lambda run: os.kill(os.getpid(), signal.SIGINT))
    with pytest.raises(KeyboardInterrupt):
        training.train(configure(), tmp_path)
    training.train(None, tmp_path, resume=True)
    assert [line["best"] for line in history(tmp_path)] == [True, False, False]
    assert releases.load(tmp_path / "weights.safetensors").metadata["step"] == "4"


@torch.no_grad()
def test_validation_is_the_mean_bits_per_dim_of_the_averaged_model(configure):
    found = []
    for batch_size in (2, 5):
        run = training.Run.build(configure(batch_size=batch_size), seed=3)
        run.average.load_state_dict(training.Run.build(configure(), 0).average.state_dict())
        run.sums = {"updates": 1, "grad_norm_max": 0.0, "nats": 0.0, "loss": 0.0}
        run.step, run.steps = 1, 1
        found.append(training.validate(run)["valid_bits_per_dim"])
    y, x, _ = training.whole_batch(run.valid, list(range(5)), run.config, run.model.multiple)
    generator = noise.keyed(3, range(5))
    expected = run.average.bits_per_dim(y, x, generator).mean().item()
    # batches of another size round differently in float32
    assert found == pytest.approx([expected, expected], abs=1e-5)


@pytest.mark.parametrize("task,unit", [("sr", "dim"), ("vessels", "pixel")])
def test_bits_are_printed_per_pixel_of_a_mask_and_per_dim_of_a_picture(configure, task, unit):
    run = training.Run.build(configure(), 0)
    run.config = replace(run.config, task=task)
    run.step, run.seconds = 1, 1.0
    line = {"bits_per_dim": 2.0, "valid_bits_per_dim": 1.0, "best": False}
    said = training.validation.progress(run, line | {"grad_norm": 1.0, "images_per_second": 1.0})
    assert f"valid 1.0000 bits/{unit}  " in said


def test_curves_say_of_what_their_bits_are(tmp_path, configure, drawn, monkeypatch):
    said = []
    monkeypatch.setattr(Axes, "set_ylabel", lambda self, name, *_, **__: said.append(name))
    monkeypatch.setattr(training.Run, "unit", "bits/pixel")
    training.train(configure(), tmp_path)
    assert [name for name in said if "/" in str(name)] == ["bits/pixel"]


def test_a_line_of_history_is_of_the_updates_since_the_last(configure, monkeypatch):
    norms = iter([3.0, 1.0, 2.0, 1.5])
    monkeypatch.setattr(nn.utils, "clip_grad_norm_", lambda *_: torch.tensor(next(norms)))
    config = configure(warmup=3, lr=1e-4)
    run = training.Run.build(config, seed=0)
    run.steps = 4
    for epoch, mean, largest in ((1.333, 2.0, 3.0), (2.667, 1.75, 2.0)):  # of batches of 4 of 6
        nats = []
        for _ in range(2):
            rate = optimizers.learning_rate(config.training, run.step, 4)
            nats.append(training.update(run))
            assert {group["lr"] for group in run.optimizer.param_groups} == {rate}
        line = training.validate(run)
        assert line["bits_per_dim"] == pytest.approx(np.mean(nats) / math.log(2))
        assert (line["epoch"], line["lr"]) == (epoch, rate)
        assert (line["grad_norm"], line["grad_norm_max"]) == (mean, largest)


def test_a_validation_is_timed_by_its_pictures(configure, monkeypatch):
    run, now = training.Run.build(configure(batch_size=2), seed=0), []  # 2, 2 and 1 picture
    monkeypatch.setattr(training.validation, "bits_per_dim", lambda run, group: now.extend(group))
    assert training.seconds_a_validation(run, lambda: len(now)) == 5
    monkeypatch.setattr(training.budget.distributed, "count", lambda: 2)  # who share the groups
    assert training.seconds_a_validation(run, lambda: len(now)) == 3


def test_super_resolution_pictures_are_cropped_to_what_the_model_takes(configure):
    whole = torch.arange(3 * 10 * 14).reshape(3, 10, 14).to(torch.uint8)
    images = ImageSet("odd", "valid", "pictures", [Example("a", whole)], "")
    y, x, dims = training.whole_batch(images, [0], configure(), multiple=4)
    assert (tuple(y.shape), tuple(x.shape), dims) == ((1, 3, 8, 12), (1, 3, 4, 6), 3 * 8 * 12)
    assert torch.equal(y[0], whole[:, :8, :12].float())


def test_padding_of_vessel_pictures_does_not_count_in_dims(configure):
    config = replace(configure(), task="vessels")
    ones = torch.ones(1, 10, 13, dtype=torch.uint8)
    images = ImageSet("odd", "valid", "labelled", [Example("a", ones, ones.expand(3, -1, -1))], "")
    y, x, dims = training.whole_batch(images, [0], config, multiple=4)
    assert (tuple(y.shape), tuple(x.shape), dims) == ((1, 1, 12, 16), (1, 3, 12, 16), 130)
    assert y.sum() == 130 and y[..., :10, :13].all()


def test_the_command_of_a_run_gives_its_configuration_again():
    config = load_config("sr-flow-smoke", ["training.lr=0.5", "data.augment=false", "data.crop=16"])
    words = shlex.split(run_folder.command(Path("me/it"), config, 7, 3, processes=1, start=None))
    overrides = [words[i + 1] for i, word in enumerate(words) if word == "--set"]
    assert load_config("sr-flow-smoke", overrides) == config
    assert words[-6:] == ["--steps", "7", "--seed", "3", "--out", "runs/it"]
    # minutes were turned into these steps
    config = load_config("sr-flow-smoke", ["training.minutes=2", "training.steps=null"])
    text = run_folder.command(Path("me/it"), config, 7, 3, processes=1, start=None)
    assert "minutes" not in text and "--steps 7 " in text


@pytest.mark.parametrize(
    ("preset", "change"),
    [
        ("sr-flow-photos", "model.features={kind: rrdb, channels: 8, blocks: 1, growth: 4}"),
        ("sr-flow-photos", "model={kind: logistic, features: {kind: residual}}"),
        ("sr-flow-paper", "data.train='123'"),
        ("sr-flow-paper", "data.train=true+false"),
    ],
)
def test_the_command_of_another_kind_and_of_a_text_like_a_number_gives_them_again(preset, change):
    config = load_config(preset, [change])
    words = shlex.split(run_folder.command(Path("me/it"), config, 7, 3, processes=1, start=None))
    overrides = [words[i + 1] for i, word in enumerate(words) if word == "--set"]
    assert load_config(preset, overrides) == config


def test_a_start_by_name_is_recorded_as_the_folder_that_was_found(tmp_path, configure, monkeypatch):
    monkeypatch.setattr(command_lines, "load_config", lambda preset: configure())
    monkeypatch.setattr(command_lines, "source_words", lambda preset: ["sr"])
    first = training.train(configure(steps=1), tmp_path / "first")
    found = releases.find_weights
    monkeypatch.setattr(
        releases, "find_weights", lambda name: found(first if str(name) == "mine" else name)
    )
    record = run_folder.read_record(
        training.train(configure(steps=1), tmp_path / "again", start=Path("mine"))
    )
    assert f" --start {tmp_path.name}/first --out " in record["commands"][-1]
    assert record["commands"][:-1] == run_folder.read_record(first)["commands"]


def test_the_record_says_what_a_number_needs(tmp_path, configure, drawn):
    training.train(configure(validate_images=3), tmp_path, seed=7)
    record = run_folder.read_record(tmp_path)
    assert (record["seed"], record["steps"], record["data"]["train"]["images"]) == (7, 10, 6)
    assert record["data"]["valid"]["sha256"] == training.run.load("embedded-sr", "valid").sha256
    last = run_folder.read_history(tmp_path)[-1]
    for name in ("seconds", "cpu_seconds"):  # the last validation counts
        assert record["took"][name] >= last[name]
    assert (record["commit"], record["dirty"]) == places.git_state()
    assert record["data"]["name"] == "embedded-sr" and len(record["data"]["train"]["sha256"]) == 64
    assert {"hardware", "threads", "processes", "torch", "config_sha256"} <= record.keys()
    assert last["valid_images"] == 3
    assert (tmp_path / "history.png").read_bytes().startswith(b"\x89PNG")
    assert places.git_state(tmp_path) == (None, True)  # outside of a checkout


# -- longer, shorter and other runs ----------------------------------------------------------------


def test_a_branch_is_its_trunk_until_it_cools(tmp_path, configure, state, history, same):
    """Both have a constant rate; the branch ends, cooled, where the trunk still goes on."""
    options = {"schedule": "constant", "cool": 0.5, "keep": [0.25, 0.1], "validate_every": 2}
    trunk = training.train(configure(steps=16, **options), tmp_path / "trunk", seed=3)
    assert sorted(path.name for path in trunk.glob("step-*.pt")) == ["step-2.pt", "step-4.pt"]
    whole = training.train(configure(steps=8, **options), tmp_path / "whole", seed=3)
    branch = training.train(
        configure(steps=8, **options), tmp_path / "branch", start=trunk / "step-4.pt"
    )
    assert same(state(branch), state(whole))
    assert history(branch) == [line for line in history(whole) if line["step"] > 4]
    assert history(whole)[:2] == history(trunk)[:2] and history(whole)[2] != history(trunk)[2]
    record = run_folder.read_record(branch)
    sha256 = run_folder.file_sha256(trunk / "step-4.pt")
    assert record["start"] == {
        "run": "trunk",
        "weights_sha256": sha256,
        "checkpoint": "step-4.pt",
        "data": [to_dict(configure())["data"]],
    }
    assert record["seed"] == 3


def test_a_branch_keeps_its_own_best(tmp_path, configure, monkeypatch):
    bits = {4: 1.0, 6: 2.0}
    monkeypatch.setattr(
        training.validation, "bits_per_dim", lambda run, i: [bits[run.step]] * len(i)
    )
    trunk = training.train(configure(steps=4), tmp_path / "trunk")
    branch = training.train(configure(steps=6), tmp_path / "branch", start=trunk / "last.pt")
    assert releases.load(branch / "weights.safetensors").metadata["step"] == "6"


def test_a_branch_says_all_commands_that_led_to_it(tmp_path, configure, monkeypatch):
    monkeypatch.setattr(command_lines, "load_config", lambda preset: configure())
    monkeypatch.setattr(command_lines, "source_words", lambda preset: ["sr"])
    flat = {"schedule": "constant"}
    trunk = training.train(configure(steps=8, keep=[0.25], **flat), tmp_path / "trunk", seed=3)
    turned = configure(steps=8, keep=[0.5], lr=1e-4, **flat)
    branch = training.train(turned, tmp_path / "turned", start=trunk / "step-2.pt")
    twig = training.train(configure(steps=1), tmp_path / "twig", start=branch)
    told = [run_folder.read_record(run)["commands"] for run in (trunk, branch, twig)]
    assert [len(commands) for commands in told] == [1, 2, 3]
    assert told[0] == told[1][:1] and told[1] == told[2][:2]
    assert told[0][0].endswith(" --out runs/trunk")
    at = f"{tmp_path.name}/trunk/step-2.pt"
    assert told[1][1].endswith(f" --steps 8 --seed 3 --start {at} --out runs/turned")


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_a_branch_has_its_own_decay_and_the_moments_of_its_trunk(tmp_path, configure, optimizer):
    start = training.train(configure(optimizer=optimizer), tmp_path / "trunk") / "last.pt"
    run = training.Run.build(configure(optimizer=optimizer, weight_decay=0.3), 0)
    training.checkpoints.load(run, start, ("model.", "training.optimizer"))
    parts = getattr(run.optimizer, "parts", [run.optimizer])
    saved = run_folder.read_checkpoint(start)[0]["optimizer"]
    for part, own in zip(parts, saved.get("parts", [saved]), strict=True):
        assert {group["weight_decay"] for group in part.param_groups} == {0.3}
        assert {group["weight_decay"] for group in own["param_groups"]} == {0.0}
        moments = [t for m in part.state.values() for t in m.values()]
        before = [t for m in own["state"].values() for t in m.values()]
        assert moments and all(map(torch.equal, moments, before))
    del own["param_groups"][0]["params"][0]
    with pytest.raises(ValueError, match="size of optimizer's group"):
        optimizers.restore(run.optimizer, saved)


def test_a_branch_goes_on_after_a_signal(tmp_path, configure, at_step, state, same):
    config = configure(keep=[0.5])
    trunk = training.train(config, tmp_path / "trunk")
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    training.train(config, whole, start=trunk / "step-5.pt")
    at_step(6, lambda run: os.kill(os.getpid(), signal.SIGINT))
    with pytest.raises(KeyboardInterrupt):
        training.train(config, cut, start=trunk / "step-5.pt")
    training.train(None, cut, resume=True)
    assert same(state(cut), state(whole))


def test_a_branch_needs_steps_left_and_the_same_model_and_optimizer(tmp_path, configure):
    start = training.train(configure(steps=4), tmp_path / "trunk") / "last.pt"
    with pytest.raises(ConfigError, match="a budget of 3 steps, and .*last.pt has done 4") as told:
        training.train(configure(steps=3), tmp_path / "short", start=start)
    assert told.value.marked_for_all  # of several processes one says it
    with pytest.raises(CheckpointError, match="optimizer was 'adamw' and is now 'muon'"):
        training.train(configure(optimizer="muon"), tmp_path / "muon", start=start)
    with pytest.raises(CheckpointError, match="optimizer was 'adamw' and is now 'amsgrad'"):
        training.train(configure(optimizer="amsgrad"), tmp_path / "amsgrad", start=start)
    wider = replace(configure(), model=configure().model | {"width": 8})
    with pytest.raises(CheckpointError, match="width was 4 and is now 8"):
        training.train(wider, tmp_path / "wider", start=start)
    with pytest.raises(CheckpointError, match="no such checkpoint"):
        training.train(configure(), tmp_path / "none", start=tmp_path / "none.pt")


def test_a_start_may_bound_what_networks_read_and_says_so(configure, tmp_path, capsys):
    trunk = training.train(configure(steps=2), tmp_path / "trunk")
    clipped = replace(configure(), model=configure().model | {"clip": 1.5})
    found = training.train(clipped, tmp_path / "clipped", start=trunk, steps=1)
    assert "model.clip was None and is now 1.5" in capsys.readouterr().out
    assert run_folder.read_config(found).model["clip"] == 1.5
    wider = replace(clipped, model=clipped.model | {"width": 8})
    with pytest.raises(CheckpointError, match="run: model.width was 4 and is now 8: make"):
        training.train(wider, tmp_path / "wider", start=trunk, steps=1)
    with pytest.raises(CheckpointError, match="clip was 1.5 and is now None"):
        training.train(configure(), found, resume=True, steps=1)


@pytest.fixture
def muon(configure):
    """A flow with hidden filters, of which Muon takes care."""
    config = configure(optimizer="muon", lr=1e-2, weight_decay=0.1)
    features = config.model["features"] | {"channels": 8}
    return replace(config, model=config.model | {"width": 8, "features": features})


def test_muon_trains_the_hidden_filters_and_adam_the_rest(muon):
    run = training.Run.build(muon, seed=0)
    hidden = {id(weight) for weight in optimizers.hidden_filters(run.model)}
    names = {name for name, weight in run.model.named_parameters() if id(weight) in hidden}
    assert "features.body.0.first.weight" in names and any("middle.weight" in n for n in names)
    rest = {n: p for n, p in run.model.named_parameters() if n not in names}
    for part in ("features.head.weight", "matrix", "from_y", "last.weight", "bias", "log_scale"):
        assert any(part in name for name in rest), part
    adam, muons = run.optimizer.parts
    assert len(adam.param_groups[0]["params"]) == len(rest)
    assert len(muons.param_groups[0]["params"]) == len(names)


def test_muon_leaves_what_reads_or_writes_at_most_six_channels_to_adam():
    sizes = [(6, 8), (7, 8), (8, 6), (8, 7), (3, 8)]
    model = nn.ModuleList(nn.Conv2d(*size, 3) for size in sizes)
    found = [tuple(weight.shape[1::-1]) for weight in optimizers.hidden_filters(model)]
    assert found == [(7, 8), (8, 7)]


def test_muon_makes_the_singular_values_of_a_step_alike():
    weight = nn.Parameter(torch.randn(8, 4, 3, 3))
    before = weight.detach().clone()
    weight.grad = torch.randn(8, 4, 3, 3) * torch.logspace(-2, 0, 8)[:, None, None, None]
    optimizers.Muon([weight], lr=1.0, weight_decay=0.0).step()
    values = torch.linalg.svdvals((weight.detach() - before).flatten(1) / (0.2 * 36**0.5))
    assert values.min() > 0.5 and values.max() < 1.5  # as five iterations leave them
    assert torch.linalg.cond(weight.grad.flatten(1)) > 10


def test_a_run_with_muon_resumes_bit_for_bit(tmp_path, muon, at_step, state, same):
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    training.train(muon, whole)
    at_step(5, lambda run: os.kill(os.getpid(), signal.SIGINT))
    with pytest.raises(KeyboardInterrupt):
        training.train(muon, cut)
    training.train(None, cut, resume=True)
    assert same(state(cut), state(whole))
    first = build(muon).state_dict()["features.body.0.first.weight"]
    assert not torch.equal(state(whole)["model"]["features.body.0.first.weight"], first)


# -- what must stop a run --------------------------------------------------------------------------


def coupling(model):
    """The last coupling's name."""
    return [n for n, m in model.named_modules() if isinstance(m, AffineCoupling)][-1]


def poison(run):
    """One weight of the network of the last coupling becomes NaN."""
    modules = run.model.get_submodule(coupling(run.model)).modules()
    next(m for m in modules if isinstance(m, nn.Conv2d)).weight.data[0, 0, 0, 0] = math.nan


def test_a_non_finite_loss_stops_names_the_layer_and_keeps_the_last_good_state(
    tmp_path, configure, at_step, state, same
):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    training.train(configure(), whole)
    at_step(6, poison)
    name = coupling(build(configure()))
    with pytest.raises(TrainingError, match=f"loss of step 7 is not finite; .* layer '{name}"):
        training.train(configure(), broken)
    assert state(broken)["step"] == 4
    training.train(None, broken, resume=True)  # the poison was given once
    assert same(state(broken), state(whole))


class Root(nn.Module):
    """sqrt has an infinite slope at 0: a finite output with a gradient that is not."""

    def forward(self, t):
        return t.sqrt()


class Chain(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(1, 1, 1)
        self.second = Root()
        nn.init.constant_(self.first.weight, 0.0)
        nn.init.constant_(self.first.bias, 0.0)

    def loss(self, y, x, generator=None):
        return self.second(self.first(y)).mean(), {}


def test_a_non_finite_gradient_changes_no_weight(configure, monkeypatch):
    run = training.Run.build(configure(), seed=0)
    run.steps = 2
    before = {k: v.clone() for k, v in run.model.state_dict().items()}
    loss = run.model.loss

    def steep(y, x, generator):
        value, logs = loss(y, x, generator)
        return value + (value * 0).sqrt(), logs  # 0 forward; 0 * inf backward

    monkeypatch.setattr(run.model, "loss", steep)
    with pytest.raises(TrainingError, match="gradient of step 1 is not finite"):
        training.update(run)
    after = run.model.state_dict()
    assert all(torch.equal(before[k], after[k]) for k in before)


def test_a_non_finite_validation_stops_and_names_the_picture(tmp_path, configure, monkeypatch):
    monkeypatch.setattr(
        training.validation,
        "bits_per_dim",
        lambda run, indices: [math.nan if i == 2 else 1.0 for i in indices],
    )
    with pytest.raises(TrainingError, match="after step 4 .*'valid-2'"):
        training.train(configure(), tmp_path)
    assert not (tmp_path / "weights.safetensors").exists()


@pytest.mark.parametrize(
    "options, budget, message",
    [
        ({}, {"minutes": 1.0, "steps": 5}, "set exactly one"),
        ({}, {"minutes": -1.0}, "--minutes -1.0 is no budget"),
        ({}, {"minutes": math.nan}, "--minutes nan is no budget"),
        ({}, {"steps": 0}, "--steps 0 is no budget"),
        ({"steps": None, "minutes": None}, {}, "set exactly one"),
        ({"steps": 3, "minutes": 1.0}, {}, "set exactly one"),
    ],
)
def test_budgets_that_are_none_are_refused(tmp_path, configure, options, budget, message):
    with pytest.raises(ConfigError, match=message):
        training.train(configure(**options), tmp_path, **budget)
    assert not (tmp_path / "last.pt").exists()


def test_a_start_that_has_seen_the_validation_pictures_or_is_of_another_model_is_refused(
    tmp_path, configure
):
    config = configure(steps=2)
    seen = replace(config, data=replace(config.data, use_valid=True))
    first = training.train(seen, tmp_path / "first")
    with pytest.raises(ConfigError, match="trained on the validation pictures of embedded-sr"):
        training.train(config, tmp_path / "again", start=first)
    second = training.train(seen, tmp_path / "on", start=first)
    data = run_folder.data_before(second)
    assert [(d["train"], d["use_valid"]) for d in data] == [("embedded-sr", True)]
    third = training.train(seen, tmp_path / "third", start=second)  # two runs before
    assert run_folder.data_before(third) == 2 * data
    wider = replace(seen, model=config.model | {"width": 8})
    with pytest.raises(CheckpointError, match="width was 4 and is now 8"):
        training.train(wider, tmp_path / "wider", start=first)


def test_a_run_starts_from_the_weights_of_another(tmp_path, configure, state):
    config = configure(steps=4)
    first = training.train(config, tmp_path / "first")
    again = training.train(config, tmp_path / "again", start=first, seed=1, max_minutes=1e-9)
    found = state(again)
    weights = releases.load(first / "weights.safetensors").state_dict()
    for name, value in weights.items():
        assert torch.equal(found["model"][name], value) and torch.equal(
            found["average"][name], value
        )
    record = run_folder.read_record(again)
    assert record["start"]["run"] == "first"
    assert record["start"]["weights_sha256"] == run_folder.file_sha256(
        first / "weights.safetensors"
    )
    assert training.train(config, tmp_path / "again", resume=True) == again  # needs no start


def test_the_command_names_its_start_without_the_place_on_the_machine(tmp_path):
    config = load_config("sr-flow-smoke", ["training.steps=1", "training.batch_size=2"])
    first = training.train(config, tmp_path / "first")
    record = run_folder.read_record(training.train(config, tmp_path / "again", start=first))
    assert f" --start {tmp_path.name}/first --out " in record["commands"][-1]
    assert str(tmp_path) not in json.dumps(record)


def test_a_non_finite_gradient_or_batch_is_traced_to_its_layer(configure):
    y = torch.ones(1, 1, 2, 2)
    assert first_non_finite(Chain(), y, y) == "the gradient through layer 'second' (Root)"
    run = training.Run.build(configure(), seed=0)
    y, x = run.batch(0)
    x[0, 0, 0, 0] = math.nan
    assert first_non_finite(run.model, y, x) == "the batch itself"


def test_the_optimizer_is_adam_with_the_released_moments_on_channels_last_weights(configure):
    """torch's fused kernel reads memory in order: it must agree with the plain formula there."""
    options = configure(optimizer="amsgrad", lr=1e-2).training
    net, plain = nn.Conv2d(3, 5, 3).to(memory_format=torch.channels_last), nn.Conv2d(3, 5, 3)
    plain.load_state_dict(net.state_dict())
    ours = optimizers.make_optimizer(net, options)
    theirs = torch.optim.Adam(
        plain.parameters(), 1e-2, optimizers.RELEASED_BETAS, amsgrad=True, foreach=False
    )
    for x in torch.randn(5, 2, 3, 7, 7):
        for model, optimizer in ((net, ours), (plain, theirs)):
            optimizer.zero_grad()
            model(x).square().mean().backward()
            optimizer.step()
    # float32 rounding over five steps of 1e-2
    torch.testing.assert_close(net.weight, plain.weight, atol=1e-5, rtol=0)


def test_another_seed_gives_another_run(tmp_path, configure, state, same):
    for seed in (0, 1):
        training.train(configure(steps=2), tmp_path / str(seed), seed=seed)
    assert not same(state(tmp_path / "0")["model"], state(tmp_path / "1")["model"])


def test_a_start_of_another_model_is_refused_and_named(tmp_path, configure):
    config = configure(steps=2)
    first = training.train(config, tmp_path / "first")
    wider = replace(config, model=config.model | {"width": 8})
    with pytest.raises(CheckpointError, match="width was 4 and is now 8"):
        training.train(wider, tmp_path / "wider", start=first)
