"""A conditional density of vectors, ours beside zuko's and a linear Gaussian: held-out nats, time.

    python -m tools.bench.vectors [--splits 5] [--steps 600] [--write]

Data: scikit-learn's breast cancer set, bundled with it. y holds the largest radius, texture,
smoothness, compactness and symmetry of the nuclei in a picture, x the means of the same five, all
standardised. Of 569 pairs a tenth is held out and a tenth stops training, in every split anew. All
flows have six or three transforms, networks of two hidden layers of 64, and the same optimizer. The
seconds are of processor time on one core. zuko is part of the optional extra `bench`.
"""

import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np  # noqa: E402
import torch  # noqa: E402
import tyro  # noqa: E402
from sklearn.datasets import load_breast_cancer  # noqa: E402
from torch import Tensor, nn  # noqa: E402
from torch.distributions import MultivariateNormal  # noqa: E402

from cnf.features import RawFeatures  # noqa: E402
from cnf.flow import ConditionalFlow  # noqa: E402
from cnf.layers import ActNorm, AffineCoupling, Conv1x1, GaussianPrior, SplineCoupling  # noqa: E402
from cnf.nets import VectorNet  # noqa: E402
from cnf.replication import places, run_folder  # noqa: E402

FEATURES = ("radius", "texture", "smoothness", "compactness", "symmetry")
Pairs = tuple[Tensor, Tensor]  # y (N, 5), x (N, 5)


@dataclass(frozen=True)
class Options:
    splits: int = 5
    steps: int = 600
    batch: int = 100
    write: bool = False
    """Write results/bench/vectors.json."""


def pairs(seed: int) -> tuple[Pairs, Pairs, Pairs]:
    """Pairs for training, stopping and testing, standardised by mean and deviation of the first."""
    bunch = load_breast_cancer()
    names = list(bunch.feature_names)
    y = bunch.data[:, [names.index(f"worst {name}") for name in FEATURES]]
    x = bunch.data[:, [names.index(f"mean {name}") for name in FEATURES]]
    order = np.random.default_rng(seed).permutation(len(y))
    tenth = len(y) // 10
    test, stop, train = order[:tenth], order[tenth : 2 * tenth], order[2 * tenth :]

    def part(rows: np.ndarray) -> Pairs:
        scaled = [(t[rows] - t[train].mean(0)) / t[train].std(0) for t in (y, x)]
        return torch.from_numpy(scaled[0]).float(), torch.from_numpy(scaled[1]).float()

    return part(train), part(stop), part(test)


def ours(coupling: type, steps: int) -> ConditionalFlow:
    """Activation norm, matrix, coupling, `steps` times, and a conditional prior."""
    size = len(FEATURES)
    num_kept, num_changed = size - size // 2, size // 2
    layers: list[nn.Module] = []
    for k in range(steps):
        net = VectorNet(num_kept, size, coupling.outputs(num_changed), 64, activation="silu")
        layers += [ActNorm(size), Conv1x1(size), coupling(size, net, flip=k % 2 == 1)]
    layers.append(GaussianPrior(size, VectorNet(0, size, 2 * size, 64, activation="silu")))
    return ConditionalFlow(layers, RawFeatures(size))


class Zuko(nn.Module):
    """A flow of zuko with `log_prob(y, x)`."""

    def __init__(self, name: str):
        super().__init__()
        import zuko

        size, hidden = len(FEATURES), (64, 64)
        kind = getattr(zuko.flows, name)
        self.flow = kind(size, size, transforms=3, hidden_features=hidden)

    def log_prob(self, y: Tensor, x: Tensor) -> Tensor:
        return self.flow(x).log_prob(y)


MODELS: dict[str, Callable[[], nn.Module]] = {
    "ours, affine couplings": partial(ours, AffineCoupling, 6),
    "ours, spline couplings": partial(ours, SplineCoupling, 3),
    "zuko, NSF": partial(Zuko, "NSF"),
    "zuko, MAF": partial(Zuko, "MAF"),
}


def linear_gaussian(train: Pairs, test: Pairs) -> float:
    """Held-out nats of y ~ N(W x + b, S), by maximum likelihood."""
    (y, x), (y_test, x_test) = ([t.double() for t in pair] for pair in (train, test))
    x, x_test = (torch.cat([t, torch.ones_like(t[:, :1])], 1) for t in (x, x_test))
    weights = torch.linalg.lstsq(x, y).solution
    residual = y - x @ weights
    normal = MultivariateNormal(x_test @ weights, residual.T @ residual / len(y))
    return -normal.log_prob(y_test).mean().item()


def train_model(
    model: nn.Module, parts: tuple[Pairs, ...], options: Options
) -> tuple[float, float]:
    """(held-out nats at the step where nats of the stopping part were lowest, seconds of a
    step)."""
    train, stop, test = parts
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3, weight_decay=1e-4)
    generator, step_seconds, best = (
        torch.Generator().manual_seed(0),
        [],
        (float("inf"), float("nan")),
    )
    for step in range(1, options.steps + 1):
        rows = torch.randint(len(train[0]), (options.batch,), generator=generator)
        started = time.process_time()
        loss = -model.train().log_prob(train[0][rows], train[1][rows]).mean()
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimizer.step()
        step_seconds.append(time.process_time() - started)
        if step % 25 == 0:
            with torch.no_grad():
                nats = [-model.eval().log_prob(*part).mean().item() for part in (stop, test)]
            best = min(best, (nats[0], nats[1]))
    return best[1], float(np.median(step_seconds))


def run(options: Options) -> dict:
    """Nats of every model and split, and milliseconds of a training step."""
    torch.set_num_threads(1)
    nats: dict[str, list[float]] = {"linear Gaussian": []}
    milliseconds: dict[str, list[float]] = {}
    for seed in range(options.splits):
        parts = pairs(seed)
        nats["linear Gaussian"].append(round(linear_gaussian(parts[0], parts[2]), 4))
        for name, make_model in MODELS.items():
            torch.manual_seed(seed)
            held_out_nats, seconds = train_model(make_model(), parts, options)
            nats.setdefault(name, []).append(round(held_out_nats, 4))
            milliseconds.setdefault(name, []).append(round(1000 * seconds, 3))
            print(
                f"split {seed}  {name:22s} {held_out_nats:.3f} nats  {1000 * seconds:.2f} ms",
                flush=True,
            )
    return {
        "data": f"breast cancer (scikit-learn), worst of {', '.join(FEATURES)} given their means",
        "nats": nats,
        "milliseconds": milliseconds,
        "clock": "processor time of one core, median over steps, of a machine that did other work",
        "steps": options.steps,
        "batch": options.batch,
        "zuko": version("zuko"),
        **run_folder.provenance(),
    }


def main(options: Options) -> None:
    measured = run(options)
    reference = np.array(measured["nats"]["linear Gaussian"])
    for name, values in measured["nats"].items():
        gain = reference - np.array(values)
        error = gain.std(ddof=1) / len(gain) ** 0.5 if len(gain) > 1 else float("nan")
        print(f"{name:22s} {np.mean(values):7.3f} nats, better by {gain.mean():.3f} +- {error:.3f}")
    if options.write:
        path = places.REPOSITORY / "results" / "bench" / "vectors.json"
        run_folder.write_atomically(path, (json.dumps(measured, indent=1) + "\n").encode())
        print(f"wrote {path}")


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__.partition("\n")[0]))
