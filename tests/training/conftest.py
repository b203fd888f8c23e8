import json
import multiprocessing

import pytest
import torch

from cnf.replication import training
from cnf.replication.config import from_dict
from cnf.replication.data import ImageSet
from cnf.replication.data.examples import Stack
from cnf.replication.training import curves

# Starts processes as forks of one that has imported all that they need, the package included; what
# a test patches is patched in its own process, so none of it is seen there.
context = multiprocessing.get_context("forkserver")
SLOW = ["torch._dynamo", "torchvision.models.vgg", "seaborn", "skimage.data", "skimage.transform"]
SLOW += ["tyro", "tests.training.test_many", "tests.training.test_interrupt"]
context.set_forkserver_preload(SLOW)


def pictures(split: str, count: int, side: int = 8) -> ImageSet:
    """Smooth random colour pictures, the same ones on every call."""
    generator = torch.Generator().manual_seed({"train": 1, "valid": 2}[split])
    noise = torch.rand(count, 3, side, side, generator=generator)
    y = (255 * noise.cumsum(-1).cumsum(-2) / side**2).to(torch.uint8)
    names = [f"{split}-{i}" for i in range(count)]
    return ImageSet("embedded-sr", split, "pictures", Stack(names, y), "test pictures")


@pytest.fixture(autouse=True)
def few_pictures(monkeypatch):
    """Training and validation see 6 and 5 tiny pictures."""
    sizes = {"train": 6, "valid": 5}
    monkeypatch.setattr(training.run, "load", lambda name, split: pictures(split, sizes[split]))


REAL_CURVES = curves.training_curves


@pytest.fixture(autouse=True)
def undrawn(monkeypatch):
    """Nothing is drawn at the end of a slice: it would be most of a short run."""
    monkeypatch.setattr(curves, "training_curves", lambda history, path, unit: path.touch())


@pytest.fixture
def drawn(monkeypatch, undrawn):
    """... or it is."""
    monkeypatch.setattr(curves, "training_curves", REAL_CURVES)


@pytest.fixture
def configure():
    """A tiny super-resolution flow; keyword arguments are those of `TrainingConfig`."""

    def make(**options):
        options = {"steps": 10, "batch_size": 4, "warmup": 2, "validate_every": 4} | options
        return from_dict(
            {
                "task": "sr",
                "preset": "test",
                "model": {
                    "kind": "subband-flow",
                    "features": {"kind": "residual", "channels": 4, "blocks": 1},
                    "levels": 1,
                    "steps": 2,
                    "width": 4,
                    "dequantization": "uniform",
                },
                "training": options,
            }
        )

    return make


@pytest.fixture
def at_step(monkeypatch):
    """Do something to the run just before its update number `step` (from 0), once."""

    def arrange(step, action):
        update, done = training.loop.update, []

        def patched(run):
            if run.step == step and run.steps and not done:
                done.append(True)
                action(run)
            return update(run)

        monkeypatch.setattr(training.loop, "update", patched)

    return arrange


@pytest.fixture
def state():
    """The content of last.pt, without the time that went by."""

    def read(out):
        found = torch.load(out / "last.pt", weights_only=True)
        del found["seconds"], found["cpu_seconds"]
        return found

    return read


@pytest.fixture
def history():
    """history.jsonl without the clock."""

    def read(out):
        lines = [json.loads(line) for line in (out / "history.jsonl").read_text().splitlines()]
        clock = ("seconds", "cpu_seconds", "images_per_second")
        return [{k: v for k, v in line.items() if k not in clock} for line in lines]

    return read


@pytest.fixture
def same():
    """Whether two nested states are equal, tensors bit for bit."""

    def equal(a, b):
        if isinstance(a, dict):
            return a.keys() == b.keys() and all(equal(a[k], b[k]) for k in a)
        if isinstance(a, list | tuple):
            return len(a) == len(b) and all(map(equal, a, b))
        return torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b

    return equal
