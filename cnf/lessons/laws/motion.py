"""Laws of Motion: its matching loss, its log_prob by a solver, and its samples."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from cnf.lessons.laws.common import repeats
from cnf.testing import Case, Fault, Law, agree, apart, likely, named, seeded
from cnf.testing_ode import OdeCase, along, euler, runge_kutta

B, D, NUM_H, COPIES = 4, 4, 2, 400
LEFT = 1e-3  # twenty steps of Runge-Kutta leave 2e-7 here, of the midpoint rule 1e-4, of Euler 1e-2


class Swirl(nn.Module):
    """A velocity that depends on v, t and h; its Jacobian is not symmetric. With a `gain` it gives
    gain times v instead, or times the mean of v in every number if it is `mixed`. It keeps what it
    was given."""

    def __init__(self) -> None:
        super().__init__()
        with seeded(1, torch.get_default_dtype()):
            self.into, self.out = nn.Linear(D + NUM_H + 1, 16), nn.Linear(16, D)
        with torch.no_grad():
            self.into.weight.mul_(3)
            self.out.weight.mul_(3)
        self.gain: float | None = None
        self.mixed = False
        self.heard: list[tuple[Tensor, ...]] = []

    def forward(self, v: Tensor, t: Tensor, h: Tensor) -> Tensor:
        if self.gain is not None:
            self.heard.append((v, t, h))
            v = v.mean(1, keepdim=True).expand_as(v) if self.mixed else v
            return self.gain * v + 0 * self.out.bias
        return self.out(self.into(torch.cat([v, h, t[:, None].to(v)], 1)).tanh())


def motion(made: type) -> tuple[Case, dict[str, Law]]:
    case = Case(made, (D,), (NUM_H,), default=torch.float64)
    return case, named(matching, loss, probes, scores, signs, counted, converges, draws, warmth)


def parts(case: Case, rows: int = B) -> tuple[Any, Swirl, Tensor, Tensor]:
    """(model, its velocity, v, h), in float64; the rows repeat B different ones."""
    with seeded(0, torch.float64):
        u = Swirl().double()
        v, h = (torch.randn(B, n).repeat(rows // B, 1) for n in (D, NUM_H))
        made: Any = case.make
        return made(u, D).double(), u, v, h


def trained_on(case: Case) -> tuple[Tensor, ...]:
    """(loss, what the velocity was given: v_t and t, and v), of 4,000 rows."""
    model, u, v, h = parts(case, 4000)
    u.gain = 0.7
    found = model.matching_loss(v, h)
    if found.shape != ():
        raise Fault(f"matching_loss has shape {tuple(found.shape)}, not ()", "take the mean")
    if len(u.heard) != 1:
        raise Fault(f"u is called {len(u.heard)} times in matching_loss, not once")
    v_t, t, given = u.heard[0]
    if t.shape != (len(v),):
        words = "one t for each row"
        raise Fault(f"u is given t of shape {tuple(t.shape)}, not ({len(v)},)", words)
    if apart(given, h) > 0:
        raise Fault("u is given another h than matching_loss")
    return found, v_t, t, v


def matching(case: Case) -> None:
    """u is asked at v_t = t v + (1 - t) noise, N(0, I), each row with its own t in (0, 1)."""
    _, v_t, t, v = trained_on(case)
    if len(t.unique()) < len(t) / 2:
        raise Fault("rows of a batch have the same t", "t is drawn once for the whole batch")
    if t.min() < 0 or t.max() > 1 or t.max() < 0.9 or t.min() > 0.1:
        raise Fault(f"t lies between {t.min():.2f} and {t.max():.2f}, not 0 and 1")
    inside, time = (t > 0.2) & (t < 0.8), t[:, None]

    def is_noise(eps: Tensor) -> bool:
        eps = eps[inside]
        near = apart(eps.mean(0), torch.zeros(D)) < 0.2 and apart(eps.std(0), torch.ones(D)) < 0.15
        return near and len(eps.unique()) > eps.numel() / 2

    eps = (v_t - time * v) / (1 - time)
    if is_noise(eps):
        return centred(eps)
    table = {
        "time is reversed: at t = 0 there is noise, at t = 1 data": (v_t - (1 - time) * v) / time,
        "the noise is not multiplied by 1 - t": v_t - time * v,
        "v is not multiplied by t": (v_t - v) / (1 - time),
    }
    words = next((words for words, eps in table.items() if is_noise(eps)), "")
    eps = ((v_t - time * v) / (1 - time))[inside]
    if not words and len(eps.unique()) <= eps.numel() / 2:
        words = "numbers of a batch share their noise"
    spread = eps.std().item()
    if not words and apart(eps, eps.mean() * torch.ones_like(eps)) < 2:
        words = "rand stands for randn: noise that is uniform"
    raise Fault(f"(v_t - t v) / (1 - t) is not N(0, I): its deviation is {spread:.2f}", words)


def centred(eps: Tensor) -> None:
    """Numbers that are drawn independently have a mean that is near 0, and not 0."""
    if apart(eps.mean(0), torch.zeros(D)) < 1e-6:
        raise Fault(
            "the noise of a batch has the mean 0 exactly", "it is standardised: leave it as it is"
        )


def loss(case: Case) -> None:
    """The loss is the mean of (u - (v - noise))^2."""
    found, v_t, t, v = trained_on(case)
    eps = (v_t - t[:, None] * v) / (1 - t[:, None])
    u = 0.7 * v_t

    def mean(target: Tensor) -> Tensor:
        return (u - target).square().mean()

    right = mean(v - eps)
    table = {
        "the target points the other way: noise - v": mean(eps - v),
        "the target is v": mean(v),
        "the target is the noise": mean(eps),
        "the target is v_t": mean(v_t),
        "summed over the numbers of a row, not averaged": D * right,
        "summed over the batch, not averaged": right * v.numel(),
        "a half too many": right / 2,
        "absolute values stand for squares": (u - (v - eps)).abs().mean(),
        "the target is v + noise": mean(v + eps),
        "the target is that of another row": mean((v - eps).flip(0)),
        "rows are weighted by t": (t[:, None] * (u - (v - eps)).square()).mean(),
    }
    agree("matching_loss", found, right, 1e-6, likely(found, right, table, 1e-6))
    if not found.requires_grad:
        raise Fault("no gradient reaches u", ".item(), .detach() or no_grad cut it off")


def path(
    u: Swirl, start: Tensor, h: Tensor, back: bool, n: int = 60, step: Callable = runge_kutta
) -> tuple[Tensor, Tensor]:
    """The end of a path, from data to noise if `back`, and the integral of the divergence along it,
    in that direction."""
    case = OdeCase(lambda: u, (D,))
    case.velocity = lambda t, v, h: u(v, v.new_full((len(v),), t), h)
    end, total = along(case, start, h, n, step, back)
    return end.detach(), total.detach()


def gaussian(z: Tensor) -> Tensor:
    return -0.5 * (z.square() + math.log(2 * math.pi)).sum(1)


def mistakes(u: Swirl, v: Tensor, h: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """log p(v|h), and what wrong log_probs give."""
    z, total = path(u, v, h, back=True)  # gathered from 1 to 0: minus the integral
    there, gathered = path(u, v, h, back=False)
    coarse, steps = path(u, v, h, True, 20, euler)
    blind, unseen = path(u, v, 0 * h, back=True)
    return gaussian(z) + total, {
        "the sign of the divergence is wrong": gaussian(z) - total,
        "the divergence is left out, or Je is summed without e, which has the mean 0": gaussian(z),
        "time runs the other way: from v at t = 1 to noise at t = 0": gaussian(there) - gathered,
        "time runs the other way, and the divergence has its sign": gaussian(there) + gathered,
        "steps of Euler: take those of Runge-Kutta": gaussian(coarse) + steps,
        "log 2 pi is missing": gaussian(z) + total + D / 2 * math.log(2 * math.pi),
        "the density of the noise is left out": total,
        "the divergence is a mean, not a sum": gaussian(z) + total / D,
        "the log-density of the noise is a mean, not a sum": gaussian(z) / D + total,
        "e is uniform in (-1, 1): e e has the mean 1/3": gaussian(z) + total / 3,
        "the divergence counts twice": gaussian(z) + 2 * total,
        "half of the divergence is missing": gaussian(z) + total / 2,
        "the deviation of the noise is 1, not 2": gaussian(z / 2) - D * math.log(2) + total,
        "it is in bits: log_prob is in nats": (gaussian(z) + total) / math.log(2),
        "u is not given h": gaussian(blind) + unseen,
    }


def scores(case: Case) -> None:
    """log_prob is log N(v_0; 0, I) less the integral of the divergence, on average over probes."""
    model, u, v, h = parts(case, B * COPIES)
    given = v.clone()
    found = model.log_prob(v, h)
    if apart(v, given) > 0:
        words = "v += ... and v.add_(...) write into it: take v = v + ..."
        raise Fault("log_prob changes the v that it is given", words)
    if found.shape != (len(v),):
        raise Fault(f"log_prob of {len(v)} rows has shape {tuple(found.shape)}, not ({len(v)},)")
    right, table = mistakes(u, v[:B], h[:B])
    each = found.detach().view(COPIES, B)
    limit = 5 * each.std(0) / COPIES**0.5 + LEFT * (1 + right.abs())
    mean = each.mean(0)
    off = {words: ((mean - wrong).abs() / limit).max().item() for words, wrong in table.items()}
    nearest = min(off, key=off.__getitem__)
    agree("log_prob", mean, right, limit, nearest if off[nearest] < 1 else "")


def signs(case: Case) -> None:
    """Numbers of a probe are independent, with the mean 0: where each number of v moves all others,
    the estimate is still right on average."""
    model, u, v, h = parts(case, B * COPIES)
    u.gain, u.mixed = 1.0, True
    found = model.log_prob(v, h).detach()
    with torch.no_grad():
        z, total = path(u, v, h, back=True)
    off = found - gaussian(z) - total
    limit = 5 * off.std() / len(off) ** 0.5 + LEFT
    words = "the numbers of a probe do not have the mean 0, or are not independent"
    agree("the mean of log_prob where u is the mean of v", off.mean(), 0 * limit, limit, words)


def counted(case: Case) -> None:
    """`steps` is the number of steps, of log_prob and of sample."""
    model, u, v, h = parts(case)
    u.gain = 0.5
    for name, do in (
        ("log_prob", lambda n: model.log_prob(v, h, steps=n)),
        ("sample", lambda n: model.sample(h, steps=n)),
    ):
        asked = []
        for n in (10, 20):
            u.heard.clear()
            do(n)
            asked.append(len(u.heard))
        if asked[1] <= asked[0]:
            words = "steps is not used"
            raise Fault(f"{name} asks u {asked[1]} times by 20 steps, {asked[0]} by 10", words)


def probes(case: Case) -> None:
    """If the divergence is estimated, each row and each call has a probe of its own."""
    model, _, v, h = parts(case, 5 * B)
    found = [model.log_prob(v, h).detach() for _ in range(2)]
    is_random = apart(*found) > 1e-9
    spread = found[0].view(5, B).std(0).max()
    if is_random and spread < 1e-9:
        words = "e has the shape of v, with its rows"
        raise Fault("all rows of a batch have the same probe", words)
    if not is_random and spread > 1e-9:
        why = repeats(lambda: model.log_prob(v, h))
        raise Fault("two calls have the same probes", why or "the probe is drawn once and kept")


def converges(case: Case) -> None:
    """With the same probes, twice as many steps give the same log_prob."""
    model, _, v, h = parts(case)
    found = []
    for steps in (20, 40):
        with seeded(3, torch.float64):
            found.append(model.log_prob(v, h, steps=steps).detach())
    words = "steps of Euler in v or in the divergence, or another e at every step"
    agree("log_prob by 20 steps", found[0], found[1], LEFT, words)


def draws(case: Case) -> None:
    """A sample is the end of the path that begins at its noise, at t = 0."""
    model, u, _, h = parts(case)

    def sampled(*tau: float) -> Tensor:
        with seeded(3, torch.float64):
            return model.sample(h, *tau).detach()

    u.gain = 0.0
    noise = sampled()  # where nothing moves
    if noise.shape != (B, D):
        raise Fault(f"samples of {B} h have shape {tuple(noise.shape)}, not ({B}, {D})")
    u.gain = None
    right = path(u, noise, h, back=False)[0]
    table = {
        "time runs the other way: from noise at t = 0 to data at t = 1": path(
            u, noise, h, back=True
        )[0],
        "steps of Euler: take those of Runge-Kutta": path(u, noise, h, False, 20, euler)[0],
        "the noise is returned": noise,
    }
    found = sampled()
    words = likely(found, right, table, LEFT) or "noise is drawn more than once?"
    agree("the end of a path", found, right, LEFT, words)
    cool = path(u, 0.5 * noise, h, back=False)[0]
    table = {"tau multiplies the sample, not the noise": 0.5 * right}
    found = sampled(0.5)
    if apart(found, right) > LEFT:  # where tau is used at all; `warmth` says if it is not
        agree(
            "the end of a path with tau = 0.5", found, cool, LEFT, likely(found, cool, table, LEFT)
        )


def warmth(case: Case) -> None:
    """tau multiplies the noise, and samples draw anew."""
    model, u, _, h = parts(case, 4000)
    u.gain = 0.0
    if words := repeats(lambda: model.sample(h)):
        raise Fault("two samples of one h are the same", words)
    noise = model.sample(h).detach()
    whole, half = noise.std(0), model.sample(h, 0.5).detach().std(0)
    share, right = half / whole, torch.full((D,), 0.5)
    table = {"tau is not used": 2 * right, "tau is squared": right**2}
    agree("deviation with tau = 0.5 over that with tau = 1", share, right, 0.04,
          likely(share, right, table, 0.05))  # fmt: skip
    if apart(whole, torch.ones(D)) > 0.1:
        raise Fault(f"the noise has the deviation {whole.mean():.2f}, not 1")
    if apart(noise.mean(0), torch.zeros(D)) > 0.1:  # 6 errors of the mean of 4,000
        raise Fault(f"the noise has the mean {noise.mean():.2f}, not 0")
    centred(noise)
    fourth = noise.pow(4).mean().item()  # 3 of normal numbers, with an error of 0.08
    if abs(fourth - 3) > 0.5:
        words = "rand stands for randn: noise that is uniform" if fourth < 2.2 else ""
        raise Fault(f"the noise is not normal: its fourth moment is {fourth:.2f}, not 3", words)
