"""Tasks: what each says of its pairs, and a third one that has nothing but its own file."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

import cnf
from cnf.errors import ConfigError
from cnf.replication import plugs, tasks, training
from cnf.replication.answers.export import export
from cnf.replication.answers.picture import Picture
from cnf.replication.answers.sample import Options, sample
from cnf.replication.cards import card
from cnf.replication.config import Config, DataConfig, load_config
from cnf.replication.data import load
from cnf.replication.evaluation.evaluate import evaluate
from cnf.replication.measures import Setting
from cnf.replication.presentation import Presentation, present, presentation_of


@pytest.mark.parametrize("name", ["sr", "vessels", "colourisation"])
def test_a_pair_has_the_sizes_and_the_values_that_the_task_says(name):
    task = tasks.find_task(name)
    images = load(presentation_of(name).embedded, "valid")
    config = load_config(f"{name}-flow-smoke" if name in ("sr", "vessels") else FLOW)
    y, x = task.batch(images, [0, 1], config.data)
    height, width = images[0].y.shape[-2:]
    assert images.kind == task.kind and y.shape == (2, task.channels, height, width)
    assert x.shape == (2, 3, height // task.factor, width // task.factor)
    assert y.min() >= 0 and y.max() < task.bins and torch.equal(y, y.floor())
    assert task.image(y[0], x[0]).shape[-2:] == y.shape[-2:]


def test_a_task_that_contradicts_its_pairs_is_told_so():
    """y of half the picture would otherwise be scored by the pixels of the whole."""

    class Halves(tasks.Task):
        name = "halves"

        def pair(self, y, x, options, rngs):
            left, right = y.chunk(2, dim=-1)
            return right, left

    images, options = load("embedded-sr", "test"), DataConfig()
    with pytest.raises(ConfigError, match="makes y of 3x32x16 .*y_size = 32x32: correct either"):
        Halves().batch(images, [0], options)
    Halves.y_size = lambda self, height, width: (height, width // 2)
    y, x = Halves().batch(images, [0], options)
    assert torch.equal(torch.cat([x, y], dim=-1)[0], images[0].y.float())
    Halves.factor = 2
    with pytest.raises(ConfigError, match="makes x of 32x16 .*factor = 2: correct either"):
        Halves().batch(images, [0], options)


def test_a_task_without_a_name_or_with_a_card_is_not_registered():
    class Plain(tasks.Task):
        pass

    with pytest.raises(ValueError, match="Plain has no `name`"):
        tasks.register(Plain())
    Plain.name, Plain.card = "plain", "of version 0.3"
    with pytest.raises(ValueError, match="plain holds a `card`: .*present.task, Presentation"):
        tasks.register(Plain())


def test_a_task_has_one_presentation_and_the_defaults_without_one():
    with pytest.raises(ValueError, match="'sr' has a presentation already"):
        present(tasks.SR, Presentation())
    assert presentation_of("sr").temperature == 0.8
    with pytest.raises(ConfigError, match="task = 'depth'"):
        presentation_of("depth")


# -- noise that is to be removed -------------------------------------------------------------------


class Denoising(tasks.Task):
    """y is a picture, x the same with noise: fixed by the picture's pixels unless it trains."""

    name = "denoising"
    strength = 25.0

    def pair(self, y, x, options, rngs):
        seeds = [[int(one.sum())] for one in y] if rngs is None else rngs
        noise = [np.random.default_rng(seed).standard_normal(y.shape[1:]) for seed in seeds]
        return y, y + self.strength * torch.from_numpy(np.stack(noise)).float()

    def x_of(self, picture, options):
        return picture


def test_noise_of_a_picture_is_the_same_in_every_scoring():
    images, options = load("embedded-sr", "test"), DataConfig()
    first, second = (Denoising().batch(images, [0, 1], options)[1] for _ in range(2))
    assert torch.equal(first, second)
    rngs = [np.random.default_rng(n) for n in range(2)]
    assert not torch.equal(Denoising().batch(images, [0, 1], options, rngs)[1], first)


def test_a_pair_that_is_random_when_scored_is_refused_by_the_name_of_its_task():
    class Careless(Denoising):
        name = "careless"

        def pair(self, y, x, options, rngs):
            return y, y + torch.randn(y.shape)

    images, options = load("embedded-sr", "test"), DataConfig()
    with pytest.raises(ConfigError, match="`pair` of the task careless made two different pairs"):
        Careless().batch(images, [0], options)
    rngs = [np.random.default_rng(0)]
    with pytest.raises(ConfigError, match="careless made two different pairs from equal rngs"):
        Careless().batch(images, [0], options, rngs)  # training
    with pytest.raises(ConfigError, match="the task careless made two different pairs"):
        tasks.Task.x_of(Careless(), torch.zeros(1, 3, 8, 8), options)


@pytest.mark.parametrize(
    "made, said",
    [
        (lambda y: y + 1, "gives Tensor: return y, x"),
        (lambda y: (y, y.numpy()), r"gives \['Tensor', 'ndarray'\]: return y, x"),
        (lambda y: (y, y / 0), "not finite"),
    ],
)
def test_what_is_no_pair_is_refused(made, said):
    class Wrong(Denoising):
        name = "wrong"

        def pair(self, y, x, options, rngs):
            return made(y)

    images, options = load("embedded-sr", "test"), DataConfig()
    for rngs in (None, [np.random.default_rng(0)]):
        with pytest.raises(ConfigError, match=f"`pair` of the task wrong .*{said}"):
            Wrong().batch(images, [0], options, rngs)


def test_rngs_are_not_spent_by_the_first_look():
    images, options = load("embedded-sr", "test"), DataConfig()

    class Noisy(Denoising):
        name = "noisy"

        def pair(self, y, x, options, rngs):
            noise = [rng.normal(0, 1, y.shape[1:]) for rng in rngs]
            return y, y + torch.from_numpy(np.stack(noise)).float()

    task = Noisy()
    drawn = [task.batch(images, [0], options, [np.random.default_rng(0)])[1] for _ in range(2)]
    assert torch.equal(*drawn)


@pytest.mark.parametrize(
    "seeds",
    [
        lambda y: range(len(y)),  # the place in the batch
        lambda y: [int(y.sum()) + n for n in range(len(y))],  # of all its pictures
        lambda y: reversed([int(one.sum()) for one in y]),  # of another one
    ],
)
def test_noise_that_depends_on_the_batch_is_refused(seeds):
    class Crowded(Denoising):
        name = "crowded"

        def pair(self, y, x, options, rngs):
            noise = [np.random.default_rng(k).standard_normal(y.shape[1:]) for k in seeds(y)]
            return y, y + self.strength * torch.from_numpy(np.stack(noise)).float()

    images, options = load("embedded-sr", "test"), DataConfig()
    Crowded().batch(images, [0], options)  # of one picture nothing is known
    with pytest.raises(ConfigError, match="crowded made two different pairs .* not from its batch"):
        Crowded().batch(images, [0, 1], options)


def test_a_pair_that_cannot_be_scored_is_refused_before_the_first_step(monkeypatch):
    class Careless(Denoising):
        name = "careless"

        def pair(self, y, x, options, rngs):
            return y, y + (torch.randn(y.shape) if rngs is None else 0)

    monkeypatch.setitem(tasks.TASKS, "careless", Careless())
    own = ["task=careless", "data.train=embedded-sr", "training.batch_size=2", "model.width=8"]
    config = load_config(FLOW, own)
    with pytest.raises(ConfigError, match="careless made two different pairs"):
        training.Run.build(config, seed=0, device="cpu")


@pytest.fixture
def denoising():
    """The task, known by its name."""
    yield tasks.register(Denoising())
    del tasks.TASKS["denoising"]


def test_a_reader_s_noisy_picture_is_x_as_it_is(denoising, tmp_path):
    """With the x that `pair` makes, noise of deviation 25 would be of 35."""
    pixels = np.random.default_rng(0).normal(128, 25, (16, 16, 3)).clip(0, 255).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "noisy.png")
    model = cnf.glow(3, levels=1, steps=1, width=4)
    model.config = Config("denoising", "none", {"kind": "glow"})
    picture = Picture(tmp_path / "noisy.png", model, Options())
    assert np.array_equal(picture.x[0].permute(1, 2, 0).numpy(), pixels)
    assert not picture.notes


def test_x_that_is_made_of_a_reader_s_picture_is_said(denoising, tmp_path, monkeypatch):
    monkeypatch.delattr(Denoising, "x_of")
    pixels = np.random.default_rng(0).normal(128, 25, (64, 64, 3)).clip(0, 255).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "noisy.png")
    model = cnf.glow(3, levels=1, steps=1, width=4)
    model.config = Config("denoising", "none", {"kind": "glow"})
    picture = Picture(tmp_path / "noisy.png", model, Options())
    assert 33 < picture.x.std() < 37  # two independent noises of 25 add up to 35.4
    assert ["denoising needs `x_of`" in note for note in picture.notes] == [True]


# -- the third task --------------------------------------------------------------------------------

FLOW = "experiments/colourisation/runs/flow.yml"


def test_luma_and_chroma_give_the_picture_back():
    plug = plugs.plug("colourisation")
    rgb = load("embedded-sr", "test")[0].y
    ycc = plug.to_ycc(rgb)
    assert (plug.to_rgb(ycc[:1], ycc[1:]) - rgb).abs().max() < 2  # three roundings
    grey = torch.full((3, 2, 2), 77.0)
    assert torch.equal(plug.to_ycc(grey)[:, 0, 0], torch.tensor([77.0, 128.0, 128.0]))


def test_errors_and_spread_of_colours_by_hand():
    """Two pictures of two chroma values: the mean of four samples, their unbiased variance."""
    plug, setting = plugs.plug("colourisation"), Setting(1.0, 4)
    truth = [torch.tensor([100.0, 104.0]), torch.tensor([90.0, 90.0])]
    means = {1: [t + 50 for t in truth], 4: [truth[0] + 3, truth[1] + 5]}
    draws = [torch.tensor([[0, 8], [4, 8], [8, 8], [12, 8]]), torch.full((4, 2), 7)]
    m = SimpleNamespace(
        indices=[0, 1],
        means=lambda samples: means[samples],
        pair=lambda i: (truth[i][None], None),
        draw_samples=lambda t, n: [(i, None, draws[i].to(torch.uint8)[:n]) for i in (0, 1)],
    )
    error, spread = plug.chroma_error(m, setting), plug.chroma_spread(m, setting)
    assert error.value == pytest.approx(4) and error.standard_error == pytest.approx(1)
    # the first value varies by (36 + 4 + 4 + 36) / 3, the second by nothing
    assert spread.value == pytest.approx((80 / 3 / 2) ** 0.5 / 2)


def test_a_task_of_its_own_trains_scores_samples_and_has_a_card(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    small = ["levels=1", "steps=1", "width=8", "prior_width=8"]
    small += ["features={kind: unet, channels: 4, scales: 2}"]
    overrides = [f"model.{option}" for option in small]
    overrides += ["data.train=embedded-sr", "training.batch_size=4", "training.validate_images=4"]
    config = load_config(str(plugs.EXPERIMENTS / "colourisation/runs/flow.yml"), overrides)
    run = training.train(config, tmp_path / "run", steps=2)
    options = {"full": True, "figures": True, "limit": 2, "samples": 2}
    rows = evaluate(run, results=tmp_path / "results", **options)
    metrics = {row.metric for row in rows}
    assert metrics == {"bits_per_dim", "chroma_error", "chroma_spread"}
    assert {(row.task, row.run, row.model) for row in rows} == {("colourisation", "run", "flow")}
    assert (run / "figures" / "embedded-sr-test.png").exists()
    assert "of the two chroma channels" in card.card(run)
    # of a photograph the luma is kept, up to rounding and what lies outside of the cube of RGB
    pixels = np.random.default_rng(0).integers(100, 150, (20, 24, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    files = sample(run, [tmp_path / "photo.png"], samples=2, mean=True, temperature=0.0)
    drawn = {path.name: np.asarray(Image.open(path)) for path in files}
    to_ycc = plugs.plug("colourisation").to_ycc
    for name in ("photo-sample1.png", "photo-mean.png"):
        assert drawn[name].shape == (20, 24, 3)
        lumas = [
            to_ycc(torch.from_numpy(p.transpose(2, 0, 1).copy()))[0] for p in (drawn[name], pixels)
        ]
        assert (lumas[0] - lumas[1]).abs().max() <= 2


@pytest.mark.slow("the exporter's graphs are tested with the two tasks of the replication")
def test_a_task_of_its_own_is_exported(tmp_path):
    overrides = ["data.train=embedded-sr", "training.batch_size=4", "training.validate_images=4"]
    config = load_config(str(plugs.EXPERIMENTS / "colourisation/runs/flow.yml"), overrides)
    run = training.train(config, tmp_path / "run", steps=1)
    assert len(export(str(run), tmp_path / "model.onnx")) == 2
