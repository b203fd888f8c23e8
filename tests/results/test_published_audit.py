"""The audit of published figures of DRIVE: every verdict again, without mlscorecheck."""

import json

import numpy as np
import pytest
import yaml
from scipy.optimize import linprog

from cnf.replication.data.inventory import label_counts
from cnf.replication.places import REPOSITORY

FOLDER = REPOSITORY / "experiments" / "published_audit"
TABLES = yaml.safe_load((FOLDER / "rows.yml").read_text("utf-8"))
ROWS = {f"{key}/{row['method']}": row for key, of in TABLES.items() for row in of["rows"]}
VERDICTS = json.loads((FOLDER / "verdicts.json").read_text("utf-8"))
ROUNDING = 1e-4
COUNTS, TEST = label_counts("drive"), [f"{number:02d}" for number in range(1, 21)]


def vessel_and_other(protocol):
    """Pixels of vessel and other pixels of every test photograph, (20,) each."""
    if protocol == "view":
        positive = np.array([COUNTS["1st_manual in view"][key] for key in TEST])
        return positive, np.array([COUNTS["in view"][key] for key in TEST]) - positive
    positive = np.array([COUNTS["1st_manual"][key] for key in TEST])
    return positive, 584 * 565 - positive


def fits_pooled(row, positive, negative):
    """Whether some numbers of true positives and negatives have the three scores."""
    totals = np.array([positive.sum(), negative.sum()])
    scores = np.array([row["sens"], row["spec"]])
    low, high = ((scores + sign * ROUNDING) @ totals / totals.sum() for sign in (-1, 1))
    return low <= row["acc"] + ROUNDING and row["acc"] - ROUNDING <= high


def fits_mean(row, positive, negative):
    """Whether some sensitivities and specificities of the photographs have means like these: a
    linear programme."""
    n, share = len(positive), positive / (positive + negative)
    none = np.zeros(n)
    means = (
        np.array([np.r_[np.ones(n), none], np.r_[none, np.ones(n)], np.r_[share, 1 - share]]) / n
    )
    scores = np.array([row["sens"], row["spec"], row["acc"]])
    limits = np.r_[scores + ROUNDING, ROUNDING - scores]
    return linprog(np.zeros(2 * n), np.r_[means, -means], limits, bounds=(0, 1)).success


def test_every_row_has_a_verdict_and_a_source():
    assert len(ROWS) >= 20 and VERDICTS.keys() == ROWS.keys()
    assert all(of["source"] and of["url"].startswith("https://") for of in TABLES.values())


@pytest.mark.parametrize("name", ROWS)
def test_verdicts_are_those_of_the_counts(name):
    for protocol, ways in VERDICTS[name].items():
        counts = vessel_and_other(protocol)
        found = {"mean": fits_mean, "pooled": fits_pooled}
        assert ways == [way for way, fits in found.items() if fits(ROWS[name], *counts)]
