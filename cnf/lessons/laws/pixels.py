"""Laws of PerPixel and WeightedBernoulli: labels that are independent given x."""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from cnf.lessons.laws.common import CUT, moved, repeats, saturate, slopes_along
from cnf.lessons.world import strokes
from cnf.testing import Case, Fault, Law, agree, apart, likely, named, randomise

D = 256
BETA = 0.87


def drawing(case: Case) -> tuple[Any, Tensor, Tensor]:
    """(model, y, x): three drawings, in float64."""
    if "drawing" not in vars(case):
        model = moved(case.make)
        randomise(model, 1, 2.0)
        vars(case)["drawing"] = model, *(t.double() for t in strokes(3))
    return vars(case)["drawing"]


def perpixel(made: type) -> tuple[Case, dict[str, Law]]:
    return Case(made, (1, 16, 16), default=torch.float64), PIXELS


def shapes(case: Case) -> None:
    """log_prob is (B,); samples are (B, 1, 16, 16)."""
    model, y, x = drawing(case)
    for name, t, shape in (
        ("log_prob", model.log_prob(y, x), (3,)),
        ("a sample", model.sample(x), (3, 1, 16, 16)),
    ):
        if t.shape != shape:
            words = ""
            if name == "log_prob" and t.numel() in (1, 3 * D):
                words = "summed over the batch, too" if t.numel() == 1 else "not summed over pixels"
            raise Fault(f"{name} of 3 drawings has shape {tuple(t.shape)}, not {shape}", words)


def log_odds(model: Any, x: Tensor) -> tuple[Tensor, Tensor]:
    """(log P of no label 1, log P(1) - log P(0) of every pixel (D,)), given the first x."""
    rows = torch.cat([torch.zeros(1, D), torch.eye(D)]).view(D + 1, 1, 16, 16)
    with torch.no_grad():
        found = model.log_prob(rows, x[:1].expand(D + 1, -1, -1, -1))
    return found[0], found[1:] - found[0]


def odds_of(case: Case) -> tuple[Tensor, Tensor]:
    """The same, of the first drawing of a case."""
    if "odds" not in vars(case):
        model, _, x = drawing(case)
        vars(case)["odds"] = log_odds(model, x)
    return vars(case)["odds"]


def independent(case: Case) -> None:
    """log P(y|x) is a sum over pixels."""
    model, y, x = drawing(case)
    start, odds = odds_of(case)
    found = model.log_prob(y, x)[0].detach()
    agree("log P of a drawing", found, start + y[0].flatten() @ odds, 1e-6)


def sums(case: Case) -> None:
    """The probabilities of all drawings sum to one."""
    found, odds = odds_of(case)

    def product(odds: Tensor) -> Tensor:
        return -F.softplus(odds).sum()

    right = product(odds)
    table = {
        "only the labels 1 are scored: (1 - y) log(1 - q) is missing": 0 * right,
        "its sign is wrong: log P, not the loss": -product(-odds),
        "it is averaged over the pixels, not summed": product(D * odds) / D,
        "it is in bits, not nats": product(math.log(2) * odds) / math.log(2),
        "it is a squared error, no log-probability": -((odds + 1) / 2).square().sum(),
        "it is q, not log q": (1 - (odds + 1) / 2).sum(),
        "the denominator, p^beta + (1 - p)^(1 - beta), is missing": unnormalised(odds),
        "class weights, beta and 1 - beta in proportion, are no likelihood": -F.softplus(
            solved((1 - BETA) * odds)
        ).sum(),
    }
    more = (found - right).item() / D

    def why() -> str:
        if 0 < more < 1e-2:
            return "the probabilities of a pixel sum to more than 1: is a number added inside log?"
        return likely(found, right, table) or multiplied(case)

    agree("log P of the empty drawing", found, right, 1e-9, why)


def multiplied(case: Case) -> str:
    """c, if log_prob is c log P of a right P for every x: log P of no label 1 is the sum of
    -c softplus(odds / c), which falls with c."""
    model, _, x = drawing(case)
    found = []
    for k in range(3):
        start, odds = log_odds(model, x[k:])
        low, high = 1e-3, 1e3
        for _ in range(60):
            c = (low * high) ** 0.5
            low, high = (c, high) if -c * F.softplus(odds / c).sum() > start else (low, c)
        found.append(c)
    c = found[0]
    return f"log P is multiplied by {c:.4g}" if max(found) - min(found) < 1e-4 * c else ""


def unnormalised(odds: Tensor) -> Tensor:
    """(1 - beta) log(1 - p) summed, p with beta log p - (1 - beta) log(1 - p) = odds."""
    return -(1 - BETA) * F.softplus(solved(odds)).sum()


def solved(odds: Tensor) -> Tensor:
    """a with (1 - beta) softplus(a) - beta softplus(-a) = odds."""
    low, high = torch.full_like(odds, -500.0), torch.full_like(odds, 500.0)
    for _ in range(60):
        a = (low + high) / 2
        below = (1 - BETA) * F.softplus(a) - BETA * F.softplus(-a) < odds
        low, high = torch.where(below, a, low), torch.where(below, high, a)
    return a


def reads_x(case: Case) -> None:
    """x changes the probabilities, each drawing its own."""
    model, y, x = drawing(case)
    other = torch.cat([x[:1] + 0.5, x[1:]])
    before, after = model.log_prob(y, x), model.log_prob(y, other)
    if apart(after[0], before[0]) < 1e-12:
        raise Fault("log_prob does not depend on x", "x is ignored")
    agree("log_prob of a drawing whose x is as before", after[1:], before[1:], 1e-6)


def blocks(case: Case) -> None:
    """A position of x is above a block of 4x4 pixels."""
    model, _, x = drawing(case)
    other = x.clone()
    other[:, :, 0, 0] += 0.5
    moved = ((log_odds(model, other)[1] - odds_of(case)[1]).abs() > 1e-12).double()
    in_order = moved.view(16, 4, 4)  # what a reshape makes of 16 channels
    in_blocks = F.pixel_unshuffle(moved.view(1, 1, 16, 16), 4)[0]
    if moved.any() and not moved.view(16, 16)[:4, :4].any():
        words = "x is turned or mirrored: its first corner belongs to the first corner of y"
        raise Fault("a corner of x does not move the pixels below it", words)
    if (in_order == in_order[0]).all() and not (in_blocks == in_blocks[0]).all():
        words = "view and reshape alone make rows of the 16 channels: F.pixel_shuffle(., 4)"
        raise Fault("a corner of x moves pixels that are not below it", words)


def rows(case: Case) -> None:
    """A drawing is scored alike whatever the others are."""
    model, y, x = drawing(case)
    words = "something is averaged or normalised over the batch"
    alone = model.log_prob(y[:1], x[:1])
    agree("log_prob of a drawing alone", alone, model.log_prob(y, x)[:1], 1e-6, words)


def samples(case: Case) -> None:
    """Samples are labels; each is 1 as often as its probability says."""
    model, _, x = drawing(case)
    odds, n = odds_of(case)[1], 2000
    with torch.no_grad():
        drawn = model.sample(x[:1].expand(n, -1, -1, -1)).flatten(1).double()
    if not ((drawn == 0) | (drawn == 1)).all():
        raise Fault("a sample holds other numbers than 0 and 1", "probabilities, not labels")
    q, found = odds.sigmoid(), drawn.mean(0)
    if apart(drawn, drawn[:1].expand_as(drawn)) == 0:
        raise Fault("all samples of one x are the same", "q is rounded: nothing is drawn")
    centred = drawn - found
    together = centred.sum(1).var() / (found * (1 - found)).sum().clamp(min=1e-3)
    if together > 5:
        raise Fault("the pixels of a sample rise and fall together", "one random number for all")
    table = {
        "log_prob or sample exchanges the labels": 1 - q,
        "a coin is tossed: q is not used": 0.5 + 0 * q,
        "p is drawn, not q": solved(odds).sigmoid(),
        "sample takes the sigmoid twice: bernoulli(sigmoid(logits)) is enough": q.sigmoid(),
    }
    for k in (2, 0.5):
        table[f"sample and log_prob have not the same logits: a factor {k}"] = (k * odds).sigmoid()
    if 0 <= odds.min() and odds.max() <= 1:
        table["log_prob takes the sigmoid twice: ..._with_logits takes logits"] = odds
    else:
        table["rand is compared with the logit, not with q"] = odds.clamp(0, 1)

    def misfit(p: Tensor) -> float:
        return ((found - p).square().sum() / (p * (1 - p) / n + 1e-5).sum()).item()

    if words := repeats(lambda: model.sample(x)):
        raise Fault("two samples of one x are the same", words)
    if misfit(q) > 2:
        words = next((name for name, p in table.items() if misfit(p) < 2), "")
        worst = (found - q).abs().argmax()
        message = f"a label is 1 in {found[worst]:.0%} of samples, q is {q[worst]:.0%}"
        raise Fault(message, words)


def weights(case: Case) -> None:
    """Gradients reach the weights."""
    model, y, x = drawing(case)

    def outcome(model: Any, y: Tensor, x: Tensor) -> Tensor:
        return model.log_prob(y, x).sum()

    slope, seen = slopes_along(model, outcome, list(model.parameters()), y, x)
    agree("the slope of log_prob along the weights, by autograd,", seen, slope, 1e-4, CUT)


def finite(case: Case) -> None:
    """A network that is certain makes nothing infinite in float32."""
    model = case.new(torch.float32).layer
    _, y, x = drawing(case)
    saturate(model, 200.0)
    for scored in (y, 1 - y):
        found = model.log_prob(scored.float(), x.float())
        if not found.isfinite().all():
            words = "log of a sigmoid that is rounded to 0 or 1: use F.logsigmoid"
            raise Fault(f"log_prob is {found[0]} where the network gives 200", words)


def certain(case: Case) -> None:
    """Some weights give probabilities near 0 or 1."""
    model = case.new().layer
    randomise(model, 2, 20.0)
    q = log_odds(model, drawing(case)[2])[1].sigmoid()
    largest = torch.maximum(q, 1 - q).max()
    if largest < 0.9:
        words = "the sigmoid is taken twice: ..._with_logits and logsigmoid take logits"
        raise Fault(f"whatever the weights, no probability is above {largest:.2f}", words)


PIXELS: dict[str, Law] = named(
    shapes, independent, sums, reads_x, blocks, rows, samples, finite, certain, weights
)
