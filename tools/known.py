"""Train flows and factorised models on data whose likelihood is known, and measure their excess.

    python -m tools.known            two minutes of one core -> results/known/
    python -m tools.known binary     one kind of data only

The models are those of the `smoke` presets, trained on new pictures at every step, so that they
cannot overfit. results/known/known.json holds -log2 P(y|x) / D of each test picture under the
truth, the best factorised model and the trained ones, all on the same pictures. The weights are
stored beside it in float16 and scored as stored. Tests derive the truth again.
"""

import json
import math
import re
import sys
import time
from statistics import fmean

import numpy as np
import torch
from torch import Tensor

from cnf import weights
from cnf.flow import ConditionalModel
from cnf.nets import set_precision
from cnf.noise import keyed
from cnf.replication import plugs, releases, results, run_folder
from cnf.replication.config import Config, build, load_config, to_dict
from cnf.replication.data.known import FineField, RowField
from cnf.replication.training.optimizers import BETAS

cells = plugs.module("known_likelihoods", "cells")
FOLDER = results.RESULTS / "known"
SEED = 0
PICTURES, DRAWS = 64, 64  # of the test; its pictures are drawn from seed SEED + 1
FIELDS = {"grey": FineField, "binary": RowField}
PARAMETERS = {"size": 16}
GREY = ["model.width=32", "model.steps=3", "model.flip=true"]
BINARY = ["model.kind=likelihood_alone/with_pixel_loss", "model.q_width=16"]
BINARY += ["model.width=16", "model.steps=4"]
# kind -> model -> (preset, steps, overrides)
TRAINED = {
    "grey": {"flow": ("sr-flow-smoke", 700, GREY), "factorised": ("sr-baseline-smoke", 300, [])},
    "binary": {
        "flow": ("vessels-flow-smoke", 2000, BINARY),
        "factorised": ("vessels-baseline-smoke", 800, []),
    },
}


def held_out_pairs(kind: str) -> tuple[FineField | RowField, Tensor, Tensor]:
    """A kind of data, and the test pairs (y, x) on which every model of it is scored."""
    field = FIELDS[kind](**PARAMETERS)
    return field, *field.sample(PICTURES, torch.Generator().manual_seed(SEED + 1))


def bits(log_p: Tensor, dims: int) -> list[float]:
    """-log2 P / D, five digits."""
    return [round(b, 5) for b in (-log_p.double() / (dims * math.log(2))).tolist()]


def train(config: Config, field: FineField | RowField) -> tuple[ConditionalModel, float]:
    """A model trained on fresh pairs by the options of its preset; and the CPU seconds it took."""
    options, start = config.training, time.process_time()
    torch.manual_seed(SEED)
    model = build(config).train()
    set_precision(model, options.precision)
    generator = torch.Generator().manual_seed(SEED)
    with torch.no_grad():
        model.loss(*field.sample(options.batch_size, generator), generator)  # norms start here
    optimizer = torch.optim.Adam(model.parameters(), lr=options.lr, betas=BETAS)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, options.lr, options.steps, pct_start=0.05, cycle_momentum=False
    )
    for _ in range(options.steps):
        y, x = field.sample(options.batch_size, generator)
        loss, _ = model.loss(y.float(), x, generator)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), options.clip_norm)
        optimizer.step()
        schedule.step()
    return model.eval(), time.process_time() - start


@torch.no_grad()
def scores(kind: str, name: str, model: ConditionalModel, y: Tensor, x: Tensor) -> dict:
    """-log2 P(y|x) / D of each picture, under the names of the columns of known.json; for a flow
    also the mean over pictures with M importance samples, of disjoint groups of the DRAWS."""
    y, dims = y.float(), y[0].numel()
    if model.exact:
        return {name: bits(model.log_prob(y, x), dims)}
    draws = [model.log_prob(y, x, keyed(SEED, range(len(y)), m)) for m in range(DRAWS)]
    terms = torch.stack(draws).double()

    def bound(m: int) -> list[float]:
        """With m importance samples, averaged over groups of them."""
        return bits((terms.view(-1, m, len(y)).logsumexp(1) - math.log(m)).mean(0), dims)

    scores_of_model = {
        f"{name}, 1 draw": bits(terms.mean(0), dims),
        "curve": {2**k: round(fmean(bound(2**k)), 5) for k in range(DRAWS.bit_length())},
        f"{name}, {DRAWS} draws": bound(DRAWS),
        "spread": round(terms.std(0).mean().item(), 3),
    }
    if kind == "grey":
        log_p, spread = cells.leaning_log_prob(
            model, y, x, DRAWS, keyed(SEED, range(len(y)), DRAWS)
        )
        scores_of_model[f"{name}, leaning"] = bits(log_p, dims)
        scores_of_model["leaning spread"] = round(spread.mean().item(), 3)
    return scores_of_model


def measure(kind: str) -> dict:
    """The entry of one kind of data in known.json."""
    field, y, x = held_out_pairs(kind)
    columns = {
        "truth": bits(field.log_prob(y, x), field.dims),
        "best factorised": bits(field.factorised_log_prob(y, x), field.dims),
    }
    measured: dict = {"field": type(field).__name__, "parameters": PARAMETERS}
    measured |= {
        "dims": field.dims,
        "seed": SEED,
        "pictures": PICTURES,
        "draws": DRAWS,
        "trained": {},
    }
    for name, (preset, steps, overrides) in TRAINED[kind].items():
        overrides = [*overrides, "training.batch_size=32", f"training.steps={steps}"]
        config = load_config(preset, overrides)
        trained, seconds = train(config, field)
        path = FOLDER / f"{kind}-{name}.safetensors"
        trained.save(path, {"config": json.dumps(to_dict(config))}, half=True)
        model_scores = scores(kind, name, releases.load(path), y, x)
        for extra in ("curve", "spread", "leaning spread"):
            if extra in model_scores:
                measured[extra] = model_scores.pop(extra)
        columns |= model_scores
        measured["trained"][name] = {
            "preset": preset,
            "overrides": overrides,
            "steps": config.training.steps,
            "batch_size": config.training.batch_size,
            "parameters": weights.count_parameters(trained),
            "cpu_seconds": round(seconds),
        }
        print(kind, name, f"{seconds:.0f} s", {k: round(fmean(v), 4) for k, v in columns.items()})
    return measured | {"bits": columns}


def main(*kinds: str) -> None:
    torch.set_num_threads(1)
    path = FOLDER / "known.json"
    by_kind = json.loads(path.read_text("utf-8")) if path.exists() else {}
    for kind in kinds or FIELDS:
        measured = measure(kind)
        measured["made"] = run_folder.provenance() | {
            "hardware": f"{run_folder.processor()}, 1 thread",
            "numpy": np.__version__,
            "command": f"python -m tools.known {kind}",
        }
        by_kind[kind] = measured
        text = json.dumps(by_kind, indent=1)
        # a list on one line
        text = re.sub(r"\[\s+([^\[\]{}]*?)\s+\]", lambda m: f"[{' '.join(m[1].split())}]", text)
        run_folder.write_atomically(path, (text + "\n").encode())


if __name__ == "__main__":
    unknown = set(sys.argv[1:]) - set(FIELDS)
    if unknown:
        sys.exit(f"no such kind: {', '.join(unknown)}; choose from {', '.join(FIELDS)}")
    main(*sys.argv[1:])
