"""Folds as one model: each photograph is answered by the network that has not seen it."""

import glob
import hashlib
from pathlib import Path

import torch
from torch import Tensor

from cnf.errors import ConfigError
from cnf.factorised import Bernoulli
from cnf.flow import ConditionalModel
from cnf.replication import run_folder
from cnf.replication.data import load
from cnf.replication.scored.variants import variant
from cnf.replication.tasks.task import find_task


class Unseen(Bernoulli):
    """Several models in one: a photograph gets the vessel map of the model on whose test split it
    is. Raises ConfigError if that is the case for none of them, or for two."""

    def __init__(self, models: list[Bernoulli]):
        super().__init__(models[0].features)
        self.models, self.places = torch.nn.ModuleList(models), {}
        self.config, self.size = models[0].config, None
        for place, model in enumerate(models):
            images = load(model.config.data.train, "test")
            for i, example in enumerate(images):
                _, x = find_task("vessels").batch(images, [i], model.config.data)
                self.size = self.size or x.shape[-2:]
                if self.places.setdefault(self.key(x[0]), place) != place:
                    raise ConfigError(f"two runs have {example.name} in their test splits")

    def key(self, x: Tensor) -> str:
        """x may be padded at the bottom and on the right."""
        height, width = self.size
        pixels = x[:, :height, :width].contiguous().cpu().numpy()
        return hashlib.sha256(pixels.tobytes()).hexdigest()

    def logit(self, x: Tensor) -> Tensor:
        keys = [self.key(photograph) for photograph in x]
        if not set(keys) <= set(self.places):
            raise ConfigError("a photograph is in no run's test split: name the runs of all folds")
        places = [self.places[key] for key in keys]
        maps = [self.models[k].logit(one[None]) for k, one in zip(places, x, strict=True)]
        return torch.cat(maps)


@variant("other_cameras/unseen")
def unseen(model: ConditionalModel, runs: str) -> Unseen:
    """The runs whose folders fit the pattern `runs`, such as runs/fold*, as one model of all
    photographs of their test splits. Raises ConfigError, see `Unseen`, also for other models."""
    folders = sorted(path for path in map(Path, glob.glob(runs)) if path.is_dir())
    models = [run_folder.trained(folder).eval() for folder in folders]
    if not models or any(type(m) is not Bernoulli for m in models):
        found = ", ".join(map(str, folders)) or "nothing"
        remedy = "give a pattern of runs of factorised models"
        raise ConfigError(f"unseen={runs} finds {found}: {remedy}")
    return Unseen(models)
