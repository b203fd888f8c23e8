"""Two moons that are turned and blurred by x: our flows of vectors beside those of zuko.

    python -m experiments.vectors.compare [--steps 800] [--seeds 3]

writes found.json. y is a point of two moons, x = (cos a, sin a, b): they are turned by the angle a,
and the deviation of the noise is 0.125 + b / 10, in 0.05 to 0.2. New pairs are drawn for every
step. All models take their steps in turn, so that what else the machine does slows them alike. zuko
is part of the optional extra `bench`.
"""

import argparse
import json
import math
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import torch
from torch import Tensor, nn

import cnf

FOUND = Path(__file__).resolve().parent / "found.json"
BATCH, RATE, TESTED = 256, 2e-3, 10_000


def pairs(n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """n pairs y (n, 2), x (n, 3)."""
    u = torch.rand(n, 4, generator=generator, dtype=torch.float64)
    angle, b = 2 * math.pi * u[:, 0], 1.5 * u[:, 1] - 0.75
    points = moons(math.pi * u[:, 2])
    y = torch.where(u[:, 3:] < 0.5, *points)
    noise = torch.randn(n, 2, generator=generator, dtype=torch.float64)
    y = y + (0.125 + b / 10)[:, None] * noise
    x = torch.stack([angle.cos(), angle.sin(), b], 1)
    return turned(y, x).float(), x.float()


def moons(t: Tensor) -> tuple[Tensor, Tensor]:
    """The points of both moons at t in (0, pi)."""
    upper = torch.stack([t.cos() - 0.5, t.sin() - 0.25], -1)
    return upper, -upper


def turned(y: Tensor, x: Tensor, sign: int = 1) -> Tensor:
    c, s = x[:, 0], sign * x[:, 1]
    return torch.stack([c * y[:, 0] - s * y[:, 1], s * y[:, 0] + c * y[:, 1]], 1)


def true_log_prob(y: Tensor, x: Tensor, points: int = 400) -> Tensor:
    """log p(y|x) in nats, by the midpoint rule along the moons."""
    y, x = y.double(), x.double()
    t = (torch.arange(points).double() + 0.5) * math.pi / points
    curve, sigma = torch.cat(moons(t)), (0.125 + x[:, 2] / 10)[:, None]
    squared = torch.cdist(turned(y, x, -1), curve).square()
    log_n = -squared / (2 * sigma.square()) - math.log(2 * math.pi) - 2 * sigma.log()
    return log_n.logsumexp(1) - math.log(2 * points)


class Zuko(nn.Module):
    """A flow of zuko with `log_prob(y, x)`: three transforms, networks of two layers of 64."""

    def __init__(self, name: str):
        super().__init__()
        import zuko

        self.flow = getattr(zuko.flows, name)(2, 3, transforms=3, hidden_features=(64, 64))

    def log_prob(self, y: Tensor, x: Tensor) -> Tensor:
        return self.flow(x).log_prob(y)


MODELS: dict[str, Callable[[], nn.Module]] = {
    "cnf.vector_flow(2, 3)": lambda: cnf.vector_flow(2, 3),
    "cnf.vector_flow(2, 3, steps=2)": lambda: cnf.vector_flow(2, 3, steps=2),
    "cnf.vector_flow(2, 3, kind=coupling, steps=6)": lambda: cnf.vector_flow(
        2, 3, kind="coupling", steps=6
    ),
    "cnf.glow(2, 3, levels=0, net=vector)": lambda: cnf.glow(
        2, 3, levels=0, net="vector", flip=True
    ),
    "zuko.flows.NSF(2, 3)": lambda: Zuko("NSF"),
    "zuko.flows.MAF(2, 3)": lambda: Zuko("MAF"),
}


def run(steps: int, seed: int) -> dict[str, tuple[float, float]]:
    """{model: (nats above the truth, milliseconds of processor time a step)}."""
    models, optimizers, seconds = {}, {}, {}
    for name, make in MODELS.items():
        torch.manual_seed(seed)
        models[name] = make()
        optimizers[name] = torch.optim.Adam(models[name].parameters(), RATE)
        seconds[name] = 0.0
    generator = torch.Generator().manual_seed(seed)
    for step in range(steps):
        y, x = pairs(BATCH, generator)
        for name, model in models.items():
            optimizer = optimizers[name]
            optimizer.param_groups[0]["lr"] = RATE * (1 + math.cos(math.pi * step / steps)) / 2
            started = time.process_time()
            loss = -model.log_prob(y, x).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            seconds[name] += time.process_time() - started
    y, x = pairs(TESTED, torch.Generator().manual_seed(10**6))
    truth = true_log_prob(y, x).mean().item()
    found = {}
    with torch.no_grad():
        for name, model in models.items():
            above = truth - model.eval().log_prob(y, x).double().mean().item()
            found[name] = above, 1000 * seconds[name] / steps
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--steps", type=int, default=800)
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    above: dict[str, list[float]] = {name: [] for name in MODELS}
    milliseconds: dict[str, list[float]] = {name: [] for name in MODELS}
    for seed in range(options.seeds):
        for name, (nats, ms) in run(options.steps, seed).items():
            above[name].append(round(nats, 4))
            milliseconds[name].append(round(ms, 2))
            print(
                f"seed {seed}  {name:46s} {nats:.4f} nats above the truth  {ms:.2f} ms", flush=True
            )
    found = {
        "steps": options.steps,
        "batch": BATCH,
        "nats_above_the_truth": above,
        "milliseconds": milliseconds,
        "mean_nats": {k: round(sum(v) / len(v), 4) for k, v in above.items()},
        "mean_milliseconds": {k: round(sum(v) / len(v), 2) for k, v in milliseconds.items()},
        "parameters": {k: sum(p.numel() for p in m().parameters()) for k, m in MODELS.items()},
        "clock": "processor time of one core, steps in turn, of a machine that did other work",
        "zuko": version("zuko"),
        "torch": torch.__version__,
    }
    FOUND.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
