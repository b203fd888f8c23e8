"""The curves of a training run: only training draws them, so pages do not depend on them."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure

from cnf.replication.plotting import STYLE


def training_curves(history: Sequence[Mapping[str, float]], path: Path) -> None:
    """Draw the lines of history.jsonl as a PNG: bits/dim, gradient norm, learning rate by step."""
    log = pd.DataFrame(history).set_index("step")
    with plt.rc_context(STYLE):
        figure = Figure(figsize=(7, 6), layout="constrained")
        top, middle, bottom = figure.subplots(3, 1, sharex=True, height_ratios=[3, 1, 1])
        top.plot(log.bits_per_dim, label="training")
        top.plot(log.valid_bits_per_dim, label="validation, averaged")
        middle.semilogy(log.grad_norm, label="mean")
        middle.semilogy(log.grad_norm_max, label="largest")
        bottom.plot(log.lr)
        bottom.set(ylabel="learning rate", xlabel="step")
        for axis, name in ((top, "bits/dim"), (middle, "gradient norm")):
            axis.set_ylabel(name)
            axis.legend(loc="upper right")
        figure.savefig(path, format="png", dpi=100, metadata={"Software": None})
