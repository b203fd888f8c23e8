"""results/known: the truth is derived again, the models are scored again from their weights."""

import json
import math

import numpy as np
import pytest
import torch

from cnf.replication import releases
from tools.known import FIELDS, FOLDER, held_out_pairs

KNOWN = json.loads((FOLDER / "known.json").read_text())

every_kind = pytest.mark.parametrize("kind", FIELDS)


def bits(log_p, dims):
    return -log_p.numpy().astype(float) / (dims * math.log(2))


@every_kind
def test_truth_and_best_factorised_are_what_the_field_says(kind):
    (field, y, x), few = held_out_pairs(kind), slice(0, 8)
    y, x = y[few], x[few]
    for name, log_p in (
        ("truth", field.log_prob(y, x)),
        ("best factorised", field.factorised_log_prob(y, x)),
    ):
        # five digits are in the file
        np.testing.assert_allclose(
            KNOWN[kind]["bits"][name][few], bits(log_p, field.dims), atol=2e-5
        )


@every_kind
def test_trained_models_score_what_is_written(kind):
    (field, y, x), few = held_out_pairs(kind), slice(0, 8)
    y, x = y[few], x[few]
    model = releases.load(FOLDER / f"{kind}-factorised.safetensors")
    config = model.config
    with torch.no_grad():
        found = bits(model.log_prob(y.float(), x), field.dims)
    # float32, and five digits in the file
    np.testing.assert_allclose(KNOWN[kind]["bits"]["factorised"][few], found, atol=1e-4)
    assert config.training.steps == KNOWN[kind]["trained"]["factorised"]["steps"]
    flow = releases.load(FOLDER / f"{kind}-flow.safetensors")
    config = flow.config
    with torch.no_grad():
        g = torch.Generator().manual_seed(0)
        draws = torch.stack([flow.log_prob(y.float(), x, g) for _ in range(64)]).double()
    found, written = bits(draws.mean(0), field.dims), KNOWN[kind]["bits"]["flow, 1 draw"][few]
    error = draws.std(0).numpy() / 8 / (field.dims * math.log(2))
    # other draws of the noise: five standard errors of a difference of two means of 64
    assert (np.abs(found - written) < 5 * 2**0.5 * error + 1e-4).all()
    assert config.training.steps == KNOWN[kind]["trained"]["flow"]["steps"]


@every_kind
def test_no_model_scores_below_the_truth(kind):
    found = {name: np.array(b) for name, b in KNOWN[kind]["bits"].items()}
    assert all(len(b) == KNOWN[kind]["pictures"] for b in found.values())
    for name, b in found.items():
        if name != "truth":
            above = b - found["truth"]
            assert above.mean() > 0 or abs(above.mean()) < 5 * above.std() / len(b) ** 0.5
    assert found["best factorised"].mean() < found["factorised"].mean()
    tightest = min(b.mean() for name, b in found.items() if name.startswith("flow"))
    assert tightest < found["best factorised"].mean()


@every_kind
def test_more_importance_samples_never_lose(kind):
    curve = list(KNOWN[kind]["curve"].values())
    assert all(a > b for a, b in zip(curve, curve[1:], strict=False))
