"""The rules of claims.yml as effects with intervals, for the table of the paper.

A rule compares one or two rows with a limit: "#0 + 1 < #1" is the difference #1 - #0, which has
to exceed 1. Rules of one claim, metric and limit are one line: the one nearest to its limit, of
single seeds.
"""

import math
import re
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cnf.replication import results
from cnf.replication.measures import MEASURES
from cnf.replication.results import claims
from cnf.replication.results.rows import Row

SHARES = {"area_coverage"}  # of twenty photographs: two standard errors are no interval there
REGISTERED = "28 Nov"  # the margins of `claims.MARGINS`
TERM = re.compile(r"(?:([\d.]+)\s*\*\s*)?(?:low\(|high\()?([#@])(\d+)\)?|([\d.]+)")


@dataclass(frozen=True)
class Effect:
    """What one rule compares.

    value: a row, the difference of two, or their ratio. error: its standard error over pictures;
    None where single pictures were not kept. limit: it has to stay above, or (`is_upper`) below.
    """

    what: str
    value: float
    error: float | None
    limit: float
    is_upper: bool
    is_equality: bool
    metric: str | None
    seeds: tuple[int | None, ...]  # of each row
    title: str | None = None  # of the metric, where it is no metric of one row

    @property
    def slack(self) -> float:
        """How far from its limit it is; an equality counts two standard errors."""
        value = abs(self.value) + 2 * (self.error or 0) if self.is_equality else self.value
        return self.limit - value if self.is_upper else value - self.limit

    @property
    def has_margin(self) -> bool:
        """Whether the limit is one of the margins of what counts as equal."""
        is_ratio = " / " in self.what
        return not is_ratio and claims.MARGINS.get(self.metric or "") == self.limit


def terms(side: str) -> list[tuple[float, str | None]]:
    """[(coefficient, "#0" or "@0" or None for a constant)] of one side of a rule."""
    found, sign = [], 1.0
    for part in re.split(r"([+-])", side):
        if part in ("+", "-"):
            sign = -1.0 if part == "-" else 1.0
        elif match := TERM.fullmatch(part.strip()):
            factor, kind, index, constant = match.groups()
            name = f"{kind}{index}" if kind else None
            found.append((sign * float(factor or constant or 1), name))
    return found


def effect(
    rule: str, rows: Sequence[Row], numbers: Sequence[float], names: Sequence[str]
) -> Effect:
    """The effect of a rule of a claim that has these rows, and measured numbers with names. Raises
    ValueError for a rule of another form."""
    if equal := re.fullmatch(r"\s*#(\d+)\s*=\s*#(\d+)\s*", rule):
        a, b = (rows[int(i)] for i in equal.groups())
        return difference(a, b, claims.MARGINS[a.metric], is_upper=True, is_equality=True)
    left, right = map(terms, rule.split("<"))
    weights: dict[str, float] = {}
    constant = 0.0
    for side, sign in ((right, 1), (left, -1)):
        for factor, name in side:
            if name is None:
                constant += sign * factor
            else:
                weights[name] = weights.get(name, 0) + sign * factor
    (plus,) = [name for name, weight in weights.items() if weight > 0] or [None]
    (minus,) = [name for name, weight in weights.items() if weight < 0] or [None]
    if plus and minus and (weights[plus], weights[minus]) == (1, -1):
        a, b = (rows[int(name[1:])] for name in (minus, plus))
        if constant > 0:
            return difference(b, a, constant, is_upper=True)
        return difference(a, b, 0.0 - constant)
    if plus and minus and not constant:  # k * minus < plus
        limit = -weights[minus] / weights[plus]
        if plus[0] == "#":
            return ratio(rows[int(minus[1:])], rows[int(plus[1:])], limit)
        values = [numbers[int(name[1:])] for name in (plus, minus)]
        what = " / ".join(names[int(name[1:])] for name in (plus, minus))
        if limit < 1:  # the other way round is easier to read
            what = " / ".join(names[int(name[1:])] for name in (minus, plus))
            return Effect(what, values[1] / values[0], None, 1 / limit, True, False, None, ())
        return Effect(what, values[0] / values[1], None, limit, False, False, None, ())
    if (plus is None) == (minus is None) or (plus or minus or "")[0] != "#":
        raise ValueError(f"'{rule}' compares neither a row with a limit nor two rows")
    row = rows[int((plus or minus or "")[1:])]
    what, limit, is_upper = short(row.run), abs(constant), plus is None
    error, seeds = row.standard_error if row.metric not in SHARES else None, (row.seed,)
    return Effect(what, row.value, error, limit, is_upper, False, row.metric, seeds)


def short(run: str) -> str:
    """The name of a run without its seed."""
    return re.sub(r"-s\d+(?=$|-)", "", run)


def difference(
    a: Row, b: Row, limit: float, is_upper: bool = False, is_equality: bool = False
) -> Effect:
    """b less a, in pairs of pictures where these were kept."""
    paired = claims.paired_differences(a, b, results.RESULTS)
    error = statistics.stdev(paired) / math.sqrt(len(paired)) if len(paired) > 1 else None
    value = statistics.mean(paired) if is_equality and paired else b.value - a.value
    if a.run == b.run:  # two metrics of one model
        titles = (MEASURES[row.metric].title for row in (b, a))
        title, metric = " − ".join(titles), None
        return Effect(short(b.run), value, None, limit, is_upper, False, metric, (b.seed,), title)
    what = f"{short(b.run)} − {short(a.run)}"
    seeds = b.seed, a.seed
    return Effect(what, value, error, limit, is_upper, is_equality, a.metric, seeds)


def ratio(a: Row, b: Row, limit: float) -> Effect:
    """b over a; its error by leaving out one picture at a time."""
    of_a, of_b = (results.pictures(row) for row in (a, b))
    error = None
    if of_a and of_a.keys() == of_b.keys() and len(of_a) > 1:
        n, sum_a, sum_b = len(of_a), sum(of_a.values()), sum(of_b.values())
        left_out = [(sum_b - of_b[name]) / (sum_a - of_a[name]) for name in of_a]
        error = statistics.pstdev(left_out) * math.sqrt(n - 1)
    what = f"{short(b.run)} / {short(a.run)}"
    return Effect(what, b.value / a.value, error, limit, False, False, a.metric, (b.seed, a.seed))


def lines(claim: claims.Claim, rows: Sequence[Row], folder: Path) -> list[dict[str, Any]]:
    """A line for each metric, limit and kind of comparison in the rules of a claim; if it is
    undecided, in those that would make it "same"."""
    ours, numbers = claims.rows_of(claim, rows), claims.measured_numbers(claim, folder)
    names = [short(keys[-2] if keys[-1] == "seconds" else keys[-1]) for _, *keys in claim.measured]
    dates = {rule: date for date, rules in claim.registered.items() for rule in rules}
    groups: dict[tuple, list[Effect]] = {}
    for rule in claim.holds or claim.same_if:
        found = effect(rule, ours, numbers, names)
        date = dates.get(rule, REGISTERED if found.has_margin else "")
        kind = found.metric, found.limit, found.is_upper, found.is_equality, found.title, date
        groups.setdefault(kind, []).append(found)
    return [line(group, date) for (*_, date), group in groups.items()]


def line(group: Sequence[Effect], date: str) -> dict[str, Any]:
    """The least favourable of some effects with one limit, set on a date ("" if after the rows),
    as the template prints it."""
    worst = min(group, key=lambda e: e.slack)
    metric = MEASURES[worst.metric] if worst.metric else None
    is_ratio = " / " in worst.what
    digits = 2 if is_ratio or metric is None or metric.digits is None else metric.digits
    digits = 4 if worst.title else digits
    if worst.error:  # two digits of the error
        digits = max(digits, 1 - math.floor(math.log10(2 * worst.error)))
    ends = "" if not worst.error else " to ".join(
        f"{worst.value + sign * 2 * worst.error:.{digits}f}" for sign in (-1, 1)
    )  # fmt: skip
    bar = "| |" if worst.is_equality else ""
    limit = f"{'<' if worst.is_upper else '>'} {worst.limit:g}"
    seeds = [str(len(set(of_a_side))) for of_a_side in zip(*(e.seeds for e in group), strict=True)]
    return {
        "what": worst.what,
        "metric": worst.title or (metric.title.removesuffix(", pooled") if metric else "time"),
        "effect": f"{worst.value:.{digits}f}",
        "interval": ends,
        "limit": f"|d| {limit}" if bar else limit,
        "comparisons": len(group),
        "seeds": " v ".join(seeds if len(set(seeds)) > 1 else seeds[:1]) or "–",
        "registered": date,
        "fails": worst.slack <= 0,
        # two standard errors reach the limit: more pictures could turn the verdict
        "is_close": abs(worst.slack) < 2 * (worst.error or 0) and not worst.is_equality,
    }
