"""Laws of Prior: a Gaussian of what leaves, given what is passed on and h."""

import math

import torch
from torch import Tensor
from torch.distributions import Normal

from cnf.lessons.laws.common import FIRST, STATE, case_of, given, repeats, saturate, trains
from cnf.testing import Case, Fault, Law, agree, apart, likely, named, seeded

D = 6  # numbers that are scored: 2 channels of 1x3
LOG_2_PI = math.log(2 * math.pi)


def prior(made: type) -> tuple[Case, dict[str, Law]]:
    case = case_of(lambda: made(1, 2, 2), (3, 1, 3), (2, 1, 3))
    case.scale = 1.0
    own = named(keeps, quadratic, gaussian, sees, restores, anew, samples, temperature, noise)
    more = named(last, bounded, trains)
    return case, FIRST | own | more | {"context": STATE["context"]} | named(hears)


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
    if apart(at_2 - at_1, at_1 - at_0) > 1e-6:
        words = "mean or deviation depend on what is scored: the network sees y_b"
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
        return likely(term, right, table) or times(term, mu, sigma, t)

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


def anew(case: Case) -> None:
    """Every call of back draws anew."""
    layer, y, h = given(case)
    kept, _ = kept_channels(case)
    if words := repeats(lambda: layer.back(y[:, kept], h, 1.0)):
        sure = apart(layer.back(y[:, kept], h, 50.0), layer.back(y[:, kept], h, 1.0)) == 0
        raise Fault("two draws of one kept and h are the same", "" if sure else words)


def sees(case: Case) -> None:
    """mu depends on what is passed on."""
    kept, _ = kept_channels(case)
    _, y, h = given(case)
    other = y.clone()
    other[:, kept] += 1
    if apart(moments(case.at(other, h))[0], moments(case)[0]) < 1e-12:
        raise Fault("the mean does not depend on y_a", "the network does not see what is passed on")


def draws(case: Case, tau: float, n: int = 4000) -> Tensor:
    """n draws for the first row: (n, 3, 1, 3)."""
    layer, y, h = given(case)
    kept, _ = kept_channels(case)
    rows = [t[:1].expand(n, *t.shape[1:]) for t in (y[:, kept], h)]
    with torch.no_grad():
        return layer.back(*rows, tau)


def restores(case: Case) -> None:
    """back puts what was passed on where it was, and draws the rest."""
    layer, y, h = given(case)
    kept, scored = kept_channels(case)
    out = layer.back(y[:, kept], h, 1.0)
    if out.shape != y.shape:
        raise Fault(
            f"back of {tuple(y[:, kept].shape)} is {tuple(out.shape)}, not {tuple(y.shape)}"
        )
    found = [k for k in range(3) if apart(out[:, k], y[:, kept[0]]) < 1e-12]
    if found != kept:
        words = "forward and back cut the channels in another order" if found else ""
        raise Fault(f"y_a was channel {kept[0]}, after back it is {found or 'lost'}", words)


def samples(case: Case) -> None:
    """Draws have the mean and the deviation of what is scored."""
    _, scored = kept_channels(case)
    (mu, sigma), drawn = (t[0] for t in moments(case)), draws(case, 1.0)[:, scored].flatten(1)
    found = torch.stack([drawn.mean(0) / sigma, drawn.std(0).log()])
    table = {
        "sigma is missing": (mu, 1 + 0 * sigma),
        "sigma^2 stands for sigma": (mu, sigma**2),
        "log sigma stands for sigma": (mu, sigma.log().abs()),
        "1 / sigma stands for sigma": (mu, 1 / sigma),
        "the root of sigma stands for sigma": (mu, sigma**0.5),
        "mu is missing": (0 * mu, sigma),
        "mu is subtracted": (-mu, sigma),
        "nothing is drawn: the mean is returned": (mu, sigma.new_full((D,), 1e-9)),
        "forward and back exchange mu and log sigma": (sigma.log(), mu.exp()),
    }
    rows = {words: torch.stack([m / sigma, s.log()]) for words, (m, s) in table.items()}
    right = torch.stack([mu / sigma, sigma.log()])
    seen = found.nan_to_num(neginf=math.log(1e-9))
    deviations = {words: row[1] for words, row in rows.items()}

    def why() -> str:
        if words := likely(seen, right, rows, 0.1):
            return words
        means = apart(seen[0], right[0]) < 0.1  # then the fault lies in the deviations alone
        return likely(seen[1], right[1], deviations, 0.05) if means else ""

    for name, row, target in zip(("mean / sigma", "log deviation"), found, right, strict=True):
        agree(f"{name} of draws", row, target, row.new_full((D,), 0.1), why)


def hears(case: Case) -> None:
    """Draws depend on h."""
    layer, y, h = given(case)
    kept, _ = kept_channels(case)
    found = []
    for t in (h, h + 1):
        with seeded(0, torch.float64):
            found.append(layer.back(y[:, kept], t, 1.0))
    if apart(*found) == 0:
        raise Fault("draws do not depend on h", "back ignores h")


def temperature(case: Case) -> None:
    """tau multiplies the deviation, and nothing else."""
    _, scored = kept_channels(case)
    mu, sigma = (t[0] for t in moments(case))
    share = draws(case, 0.5)[:, scored].flatten(1).std(0) / sigma
    half = 0.5 + 0 * share
    table = {
        "tau is not used": 2 * half,
        "tau is squared": half**2,
        "the deviation is divided by tau": 4 * half,
        "tau stands for the variance: its root is used": half**0.5,
    }
    agree("with tau = 0.5 deviation / sigma", share, half, 0.04, likely(share, half, table, 0.03))
    coldest = draws(case, 0.0, 1)[:, scored].flatten(1)[0]
    words, mean = "", draws(case, 1.0)[:, scored].flatten(1).mean(0)
    if apart(coldest, 0 * mu) < 1e-6:
        near = (mean - mu).abs().sum() < mean.abs().sum()
        words = "tau multiplies the mean, too" if near else "mu is missing"
    agree("with tau = 0 a draw", coldest, mu, 1e-6, words)


def noise(case: Case) -> None:
    """Every number that is drawn has noise of its own, and it is Gaussian."""
    _, scored = kept_channels(case)
    (mu, sigma), drawn = (t[0] for t in moments(case)), draws(case, 1.0)[:, scored].flatten(1)
    eps = (drawn - mu) / sigma
    together = (eps.T.corrcoef() - torch.eye(D)).abs().max()
    if together > 0.2:
        raise Fault(f"two numbers of a draw have a correlation of {together:.2f}", "shared noise")
    if len(eps[:, 0].unique()) < len(eps) // 2:
        raise Fault("the rows of a batch have the same draw", "shared noise")
    near = (eps.abs() < 1).double().mean().item()
    if abs(near - math.erf(0.5**0.5)) > 0.03:
        words = "rand stands for randn: noise that is uniform" if near < 0.68 else ""
        raise Fault(f"{near:.0%} of draws lie within sigma, not 68%", words)


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


def bounded(case: Case) -> None:
    """A network that gives 100 or -100 makes nothing infinite in float32."""
    kept, _ = kept_channels(case)
    layer, (y, h) = case.new(torch.float32).layer, (t.float() for t in case.given)
    for value in (100.0, -100.0):
        saturate(layer, value)
        for name, found in (("term", layer(y, h)[1]), ("draw", layer.back(y[:, kept], h, 1.0))):
            if not found.isfinite().all():
                words = "log sigma is not bounded: exp of 89 is too large. m tanh(raw / m) is"
                raise Fault(f"the {name} is not finite where the network gives {value:.0f}", words)
