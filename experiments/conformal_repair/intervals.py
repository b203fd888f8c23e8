"""How much the conformal intervals of areas promise and how wide they are, and the scores behind
them, so that their factor can be computed again without the weights of the folds.

    python experiments/conformal_repair/intervals.py
    CNF_DATA=... python experiments/conformal_repair/intervals.py runs/FOLD ... --samples 32

The first writes intervals.json from rows. The second writes scores.jsonl, a line for each held-out
photograph of these runs; lines of other runs stay.
"""

import argparse
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from cnf.replication import plugs, results, run_folder
from cnf.replication.data import load
from cnf.replication.scored.model import ScoredModel
from cnf.replication.scored.options import Options

metrics = plugs.module("conformal_repair", "metrics")
HERE = Path(__file__).parent
TABLE, SCORES = HERE / "intervals.json", HERE / "scores.jsonl"


def lower_limit(held: int, n: int, level: float = 0.95) -> float:
    """The smallest coverage under which `held` or more of n intervals hold the truth with
    probability 1 - level or more (Clopper and Pearson 1934): 0.86 for 20 of 20."""
    return float(stats.beta.ppf(1 - level, held, n - held + 1)) if held else 0.0


def ideal_factor(true: np.ndarray, expected: np.ndarray) -> float:
    """The smallest f for which nine tenths of the areas, (N,), lie within their expectation over f
    and f times it, known afterwards."""
    scores = np.sort(np.abs(np.log(true / expected)))
    return float(np.exp(scores[math.ceil(metrics.LEVEL * len(scores)) - 1]))


def table() -> list[dict[str, Any]]:
    """A line for each row of coverage: how many areas are held, the 95 % lower limit of that, the
    factor f and, where areas of single photographs were kept, the `ideal_factor` and by how much
    intervals are too wide, log f over the log of that."""
    rows, lines = results.read_rows(), []
    for row in results.select(rows, metric="area_interval_coverage", split="test"):
        held, n, factor = round(row.value * row.num_images), row.num_images, math.exp(row.threshold)
        line = {"row": row.id, "held": held, "of": n, "factor": factor}
        line["lower_limit"] = lower_limit(held, n)
        path = results.RESULTS / row.run / "evaluations" / f"{row.data}-{row.split}.curves.json"
        if path.exists():
            kept = json.loads(path.read_text("utf-8"))
            true, drawn = kept["forms"]["truth"]["area"], np.array(kept["drawn"]["area"])
            line["ideal_factor"] = ideal_factor(np.array(true), drawn.mean(1))
            line["too_wide"] = math.log(factor) / math.log(line["ideal_factor"])
        lines.append({k: round(v, 4) if isinstance(v, float) else v for k, v in line.items()})
    return lines


def scores(folder: Path, samples: int) -> list[dict[str, Any]]:
    """The score of each photograph that a run held out, with the step of the weights that it kept:
    if that is not the last, the same photographs chose it."""
    model = run_folder.trained(folder)
    images = load(model.config.data.train, "valid")
    found = metrics.area_scores(ScoredModel(model, images, Options(samples=samples)), samples)
    kept = {"kept": int(model.metadata["step"]), "steps": run_folder.read_record(folder)["steps"]}
    return [
        {"run": folder.name, "photograph": example.name, "score": round(float(score), 6)}
        | {"samples": samples}
        | kept
        for example, score in zip(images, found, strict=True)
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("runs", nargs="*", type=Path, help="folders of runs of folds")
    parser.add_argument("--samples", type=int, default=0, help="of marginals; 0: the model's own")
    asked = parser.parse_args()
    if not asked.runs:
        results.rows.write_text(TABLE, json.dumps(table(), indent=1) + "\n")
        return
    names = {folder.name for folder in asked.runs}
    old = SCORES.read_text("utf-8").splitlines() if SCORES.exists() else []
    lines = [line for line in map(json.loads, old) if line["run"] not in names]
    lines += [line for folder in asked.runs for line in scores(folder, asked.samples)]
    results.rows.write_text(SCORES, "".join(json.dumps(line) + "\n" for line in lines))


if __name__ == "__main__":
    main()
