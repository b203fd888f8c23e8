"""Laws of WeightedBernoulli: those of any independent labels, and what beta does."""

import math

import torch
import torch.nn.functional as F

from cnf.lessons.laws.pixels import BETA, PIXELS, drawing, log_odds, odds_of
from cnf.testing import Case, Law, agree, likely, named


def weighted(made: type) -> tuple[Case, dict[str, Law]]:
    case = Case(lambda: made(BETA), (1, 16, 16), default=torch.float64)
    return case, PIXELS | named(beta)


def beta(case: Case) -> None:
    """logit q = (1 - beta) softplus(a) - beta softplus(-a)."""
    model, _, x = drawing(case)
    half = type(model)(0.5).double()
    half.load_state_dict(model.state_dict())
    a = 2 * log_odds(half, x)[1]
    found = odds_of(case)[1]
    right = (1 - BETA) * F.softplus(a) - BETA * F.softplus(-a)
    table = {
        "beta and 1 - beta are exchanged": BETA * F.softplus(a) - (1 - BETA) * F.softplus(-a),
        "beta is not used": a / 2,
        "class weights: they move the logit by log beta / (1 - beta)": a / 2
        + math.log(BETA / (1 - BETA)),
        "(1 - p) has the exponent beta, too": BETA * a,
    }
    agree("logit q", found, right, 1e-6, lambda: likely(found, right, table))
