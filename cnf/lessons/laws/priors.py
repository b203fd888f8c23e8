"""Laws of Prior: those of its term, and of its draws."""

import math

import torch
from torch import Tensor

from cnf.lessons.laws.common import FIRST, STATE, case_of, given, repeats, saturate, trains
from cnf.lessons.laws.gaussians import (
    D,
    gaussian,
    keeps,
    kept_channels,
    last,
    moments,
    quadratic,
    sees,
)
from cnf.testing import Case, Fault, Law, agree, apart, likely, named, seeded


def prior(made: type) -> tuple[Case, dict[str, Law]]:
    case = case_of(lambda: made(1, 2, 2), (3, 1, 3), (2, 1, 3))
    case.scale = 1.0
    own = named(keeps, quadratic, gaussian, sees, restores, anew, samples, temperature, noise)
    more = named(last, bounded, trains)
    return case, FIRST | own | more | {"context": STATE["context"]} | named(hears)


def anew(case: Case) -> None:
    """Every call of back draws anew."""
    layer, y, h = given(case)
    kept, _ = kept_channels(case)
    if words := repeats(lambda: layer.back(y[:, kept], h, 1.0)):
        sure = apart(layer.back(y[:, kept], h, 50.0), layer.back(y[:, kept], h, 1.0)) == 0
        raise Fault("two draws of one kept and h are the same", "" if sure else words)


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
        if apart(sigma, torch.ones(D)) < 1e-9:
            return "the term does not use sigma: it is 1 there"
        if apart(seen[0], right[0]) > 0.1:
            return ""
        more = (seen[1] - right[1]).mean()  # else the fault lies in the deviations alone
        deviations[f"it is {more.exp().item():.2g} times sigma of the term"] = right[1] + more
        return likely(seen[1], right[1], deviations, 0.05)

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
    whole, half_as_warm = (draws(case, tau)[:, scored].flatten(1).std(0) for tau in (1.0, 0.5))
    share = half_as_warm / whole
    half = 0.5 + 0 * share
    table = {
        "tau is not used": 2 * half,
        "tau is squared": half**2,
        "the deviation is divided by tau": 4 * half,
        "tau stands for the variance: its root is used": half**0.5,
    }
    agree(
        "deviation with tau = 0.5 over that with tau = 1",
        share,
        half,
        0.04,
        likely(share, half, table, 0.03),
    )
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
        spread = apart(eps.std(0), torch.ones(D)) < 0.1  # else another law says what is wrong
        words = "rand stands for randn: noise that is uniform" if near < 0.68 and spread else ""
        raise Fault(f"{near:.0%} of draws lie within sigma, not 68%", words)


def bounded(case: Case) -> None:
    """A network that gives 1000 or -1000 makes nothing infinite in float32."""
    kept, _ = kept_channels(case)
    layer, (y, h) = case.new(torch.float32).layer, (t.float() for t in case.given)
    for value in (1000.0, -1000.0):
        saturate(layer, value)
        for name, found in (("term", layer(y, h)[1]), ("draw", layer.back(y[:, kept], h, 1.0))):
            if not found.isfinite().all():
                words = "log sigma is not bounded: exp of 89 is too large. m tanh(raw / m) is"
                raise Fault(f"the {name} is not finite where the network gives {value:.0f}", words)
