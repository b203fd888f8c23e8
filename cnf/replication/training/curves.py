"""The curves of a training run: only training draws them, so pages do not depend on them."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
import seaborn
from matplotlib.figure import Figure

from cnf.replication.plotting import STYLE


def training_curves(history: Sequence[Mapping[str, float]], path: Path, unit: str) -> None:
    """Draw the lines of history.jsonl as a PNG: bits in `unit`, gradient norm, learning rate."""
    log = pd.DataFrame(history).set_index("step")
    with plt.rc_context(STYLE | {"figure.constrained_layout.use": False}):
        figure = Figure(figsize=(7, 6))
        top, middle, bottom = figure.subplots(3, 1, sharex=True, height_ratios=[3, 1, 1])
        figure.subplots_adjust(left=0.14, right=0.98, bottom=0.08, top=0.98, hspace=0.1)
        for axis, column, name in (
            (top, "bits_per_dim", "training"),
            (top, "valid_bits_per_dim", "validation, averaged"),
            (middle, "grad_norm", "mean"),
            (middle, "grad_norm_max", "largest"),
            (bottom, "lr", None),
        ):
            seaborn.lineplot(log[column], label=name, ax=axis, estimator=None)
        middle.set_yscale("log")
        bottom.set(ylabel="learning rate", xlabel="step")
        for axis, name in ((top, unit), (middle, "gradient norm")):
            axis.set_ylabel(name)
            axis.legend(loc="upper right")
        figure.savefig(path, format="png", dpi=100, metadata={"Software": None})
