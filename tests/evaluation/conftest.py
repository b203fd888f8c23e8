import dataclasses
import functools
import json

import numpy as np
import pytest
import torch

from cnf.replication import releases
from cnf.replication.config import build, load_config, preset_of, to_dict
from cnf.replication.data import Example, ImageSet, load
from cnf.replication.scored.model import ScoredModel
from cnf.replication.scored.options import Options
from cnf.replication.tasks import find_task


@pytest.fixture(scope="session")
def make_run(tmp_path_factory):
    """A run folder with the smoke model of a task, weights moved away from their start.

    "vessels-weighted" is the baseline with a weighted likelihood; a name that ends with "-all" is
    the same model, trained on the validation split as well."""

    def make(name):
        task, kind, *used_all = name.split("-")
        changes = ["model.kind=weighted", "model.beta=0.8"] * (kind == "weighted")
        kind = "baseline" if kind == "weighted" else kind
        config = load_config(preset_of(task, kind), changes)
        torch.manual_seed(0)
        model = build(config)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.02 * torch.randn_like(parameter))
            images = load(config.data.train, "train")
            rngs = [np.random.default_rng(place) for place in range(8)]
            model.train().loss(*find_task(config.task).batch(images, range(8), config.data, rngs))
        if used_all:
            data = dataclasses.replace(config.data, use_valid=True)
            config = dataclasses.replace(config, data=data)
        folder = tmp_path_factory.mktemp("runs") / name
        folder.mkdir()
        metadata = {"seed": "0", "step": "0", "data": config.data.train}
        metadata["config"] = json.dumps(to_dict(config))
        model.save(folder / "weights.safetensors", metadata)
        return folder

    return functools.cache(make)


@pytest.fixture
def loaded(make_run):
    """(model, config) of such a run."""

    def load(name):
        model = releases.load(make_run(name) / "weights.safetensors")
        return model, model.config

    return load


@pytest.fixture
def scored(loaded):
    """Such a run on an image set."""
    return lambda name, images, **options: ScoredModel(loaded(name)[0], images, Options(**options))


@pytest.fixture
def vessels():
    """Random photographs and masks, the left half of the frame in the field of view."""

    def make(height, width, count=2, split="test"):
        rng = np.random.default_rng([height, count])
        fov = torch.zeros(height, width, dtype=torch.bool)
        fov[:, : width // 2] = True
        examples = [
            Example(
                f"picture-{n}",
                torch.from_numpy(rng.integers(0, 2, (1, height, width)).astype(np.uint8)),
                torch.from_numpy(rng.integers(0, 256, (3, height, width)).astype(np.uint8)),
                fov,
            )
            for n in range(count)
        ]
        return ImageSet("toy", split, "labelled", examples, "drawn at random")

    return make
