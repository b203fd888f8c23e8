"""Laws of the term of Prior: a Gaussian of what leaves, given what is passed on and h."""

import math

import torch
from torch import Tensor
from torch.distributions import Normal

from cnf.lessons.laws.common import CUT, given
from cnf.testing import Case, Fault, agree, apart, constant_off, likely

D = 6  # numbers that are scored: 2 channels of 1x3
LOG_2_PI = math.log(2 * math.pi)


def kept_channels(case: Case) -> tuple[list[int], list[int]]:
    """(those that are passed on, those that are scored): the first are num_a, or the last are."""
    layer, y, h = given(case)
    kept = layer(y, h)[0]
    if kept.shape[1] != 1:
        words = "what is scored is passed on" if kept.shape[1] == 2 else ""
        words = "all is passed on: what is scored leaves" if kept.shape[1] == 3 else words
        raise Fault(f"with num_a = 1 it passes on {kept.shape[1]} channels", words)
    for k in (0, 2):
        if apart(kept[:, 0], y[:, k]) < 1e-12:
            return [k], [i for i in range(3) if i != k]
    raise Fault("what is passed on is no channel of y", "y_a is passed on as it is")


def keeps(case: Case) -> None:
    """num_a channels are passed on, as they are."""
    kept_channels(case)


def slopes(case: Case) -> list[Tensor]:
    """Derivatives of the term in what is scored, where that is 0, 1 and 2: (B, D) each."""
    layer, y, h = given(case)
    _, scored = kept_channels(case)
    found = []
    for value in (0.0, 1.0, 2.0):
        point = y.clone()
        point[:, scored] = value
        point.requires_grad_()
        (slope,) = torch.autograd.grad(layer(point, h)[1].sum(), point)
        found.append(slope[:, scored].flatten(1))
    return found


def quadratic(case: Case) -> None:
    """The term is a Gaussian's: quadratic in what is scored, and falls on both sides."""
    at_0, at_1, at_2 = slopes(case)
    if not (at_0.any() or at_1.any() or at_2.any()):
        words = f"it does not use y_b, or {CUT}"
        raise Fault("the term has no slope in what is scored", words)
    if apart(at_2 - at_1, at_1 - at_0) > 1e-6:
        words = "no Gaussian's density, or the network sees y_b: mean or deviation depend on it"
        if apart(at_0.abs(), at_1.abs()) < 1e-9:
            words = "that is the density of Laplace, |y_b - mu| / sigma: take the square"
        raise Fault("the term is not quadratic in what is scored", words)
    if (at_0 - at_1 <= 0).any():
        raise Fault("the term grows away from the mean", "its sign is wrong: log p, not -log p")


def moments(case: Case) -> tuple[Tensor, Tensor]:
    """mu and sigma of what is scored, (B, D), from the derivatives of the term."""
    at_0, at_1, _ = slopes(case)
    precision = at_0 - at_1
    return at_0 / precision, precision**-0.5


def gaussian(case: Case) -> None:
    """The term is the sum of log N(y_b; mu, sigma^2)."""
    layer, y, h = given(case)
    _, scored = kept_channels(case)
    mu, sigma = moments(case)
    t = y[:, scored].flatten(1)
    term = layer(y, h)[1].detach()

    def log_p(sigma: Tensor) -> Tensor:
        return Normal(mu, sigma).log_prob(t).sum(1)

    right, log_sigma = log_p(sigma), sigma.log().sum(1)
    table = {
        "log sigma is missing": right + log_sigma,
        "log sigma has the wrong sign": right + 2 * log_sigma,
        "1/2 log 2 pi is missing": right + D / 2 * LOG_2_PI,
        "1/2 log 2 pi has the wrong sign": right + D * LOG_2_PI,
        "1/2 log 2 pi is log 2 pi": right - D / 2 * LOG_2_PI,
        "1/2 log 2 pi is counted once, not for every number": right + (D - 1) / 2 * LOG_2_PI,
        "log sigma and 1/2 log 2 pi are missing": right + log_sigma + D / 2 * LOG_2_PI,
        "the half before the square is missing": right - D / 2 * math.log(2),
        "the square is divided by 2 sigma, not by 2 sigma^2": right - log_sigma,
        "it is averaged over what is scored, not summed": log_p(sigma * D**-0.5) / D,
        "it is averaged over the channels, not summed": log_p(sigma * 2**-0.5) / 2,
        "it is averaged over the positions, not summed": log_p(sigma * 3**-0.5) / 3,
        "it is in bits, not nats": log_p(sigma * math.log(2) ** -0.5) / math.log(2),
        "a log-determinant is added: a prior has none": right - log_sigma - log_sigma,
    }

    def why() -> str:
        more = table | constant_off(term, right)
        return likely(term, right, more) or times(term, mu, sigma, t)

    agree("the term", term, right, 1e-6, why)


def times(term: Tensor, mu: Tensor, measured: Tensor, t: Tensor) -> str:
    """c, if the term is c log N(t; mu, sigma^2): then sigma / c^0.5 is what was measured."""

    def scaled(c: float) -> Tensor:
        return c * Normal(mu, measured * c**0.5).log_prob(t).sum(1)

    for k in range(1, 60):
        for c in (k / 20, 1 / k):
            if c != 1 and apart(term, scaled(c)) < 1e-6:
                return f"log p is multiplied by {c:.4g}"
    return ""


def sees(case: Case) -> None:
    """mu depends on what is passed on."""
    kept, _ = kept_channels(case)
    _, y, h = given(case)
    other = y.clone()
    other[:, kept] += 1
    if apart(moments(case.at(other, h))[0], moments(case)[0]) < 1e-12:
        raise Fault("the mean does not depend on y_a", "the network does not see what is passed on")


def last(case: Case) -> None:
    """The last prior keeps nothing: num_a = 0."""
    layer = type(given(case)[0])(0, 2, 2).double()
    y, h = torch.randn(5, 2, 1, 2), torch.randn(5, 2, 1, 2)
    kept, term = layer(y, h)
    if kept.shape != (5, 0, 1, 2) or term.shape != (5,):
        raise Fault(f"with num_a = 0 it passes on {tuple(kept.shape)}, not (5, 0, 1, 2)")
    out = layer.back(kept, h, 1.0)
    if out.shape != y.shape:
        raise Fault(f"with num_a = 0 back gives {tuple(out.shape)}, not {tuple(y.shape)}")
