"""What the paper claims beside our rows, `results/claims.yml`, and what others have published,
`results/published.yml`."""

import math
import re
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, Field, ValidationError, model_validator

from cnf.errors import ResultsError
from cnf.replication.metrics import METRICS
from cnf.replication.results.rows import (
    ALIKE,
    RESULTS,
    Row,
    described,
    one,
    pictures,
    seeds_of,
    select,
    valued,
)
from cnf.replication.results.rows import read as read_rows
from cnf.replication.tasks import TASKS

Verdict = Literal["same", "different", "implemented", "second-hand", "could not", "open"]
Text = Annotated[str, Field(min_length=1)]
Wanted = dict[str, Any]  # the fields that `one` finds a row by
_SUM = re.compile(r"\s*(#\d+|\d+(?:\.\d+)?)(?:\s*([+-])\s*(#\d+|\d+(?:\.\d+)?))?\s*")
_EQUAL = re.compile(r"\s*#(\d+)\s*=\s*#(\d+)\s*")
MARGINS = {  # of what counts as equal, registered in experiments/seeds
    "bits_per_dim": 0.01,
    "bits_per_pixel": 0.001,
    "psnr": 0.1,
    "ssim": 0.002,
    "f_half": 0.005,
    "f_valid": 0.005,
    "f_sample": 0.005,
    "calibration_error": 0.005,
}


class _Strict(BaseModel, extra="forbid", frozen=True, allow_inf_nan=False):
    pass


class Claim(_Strict):
    """One claim or number of the paper.

    Args:
        place: where it stands, as far as we know ("abstract", "a table of likelihoods").
        says: the claim in our words. `value`, `unit`: where it is a number and we recall one.
        tag: "confirmed" if a readable copy says so, else "unconfirmed". `source` says which copy.
        verdict: ours against theirs, and the `cause` in a sentence: "same" needs a rule that could
            have failed. `would_change`: the data, the run or the sentence of the paper that would
            change it.
        ours: our rows, by fields as for `one` (split "test" if they do not say).
        holds: what has to be true of these rows for the verdict to stand: "#0 + 1 < #1" says that
            the second of them is more than 1 above the first, "#0 = #1" that the mean of their
            paired differences, and twice its standard error, are within the margin of `MARGINS`.
    """

    id: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]*$")]
    place: Text
    says: Text
    tag: Literal["confirmed", "unconfirmed"]
    source: Text
    verdict: Verdict
    cause: Text
    would_change: Text
    value: float | None = None
    unit: str | None = None
    ours: tuple[Wanted, ...] = ()
    holds: tuple[Text, ...] = ()

    @model_validator(mode="after")
    def _is_consistent(self):
        if self.verdict in ("same", "different") and not self.ours:
            raise ValueError(f"a claim judged '{self.verdict}' needs a row of ours")
        if self.verdict == "same" and not self.holds:
            raise ValueError("'same' needs a rule that could have failed: `holds`, over rows")
        if self.verdict == "same" and self.value is not None and self.tag == "unconfirmed":
            raise ValueError("a recalled number cannot be judged 'same': confirm it first")
        if (self.value is None) != (self.unit is None):
            raise ValueError("`value` and `unit` go together")
        for rule in self.holds:
            sides = [_SUM.fullmatch(side) for side in rule.split("<")]
            if not _EQUAL.fullmatch(rule) and (len(sides) != 2 or not all(sides)):
                raise ValueError(f"'{rule}' is no rule: write it as '#0 + 0.5 < #1' or '#0 = #1'")
            named = [int(i) for i in re.findall(r"#(\d+)", rule)]
            if not named or max(named) >= len(self.ours):
                raise ValueError(f"'{rule}' needs rows of `ours`, which has {len(self.ours)}")
        return self


class _Claims(_Strict):
    claims: tuple[Claim, ...]


def read(results: Path = RESULTS) -> tuple[Claim, ...]:
    """The claims of claims.yml, validated against our rows.

    Raises ResultsError, also if a claim that was judged misses a row, or what it `holds` is false.
    """
    path = results / "claims.yml"
    found, rows = _read_yaml(path, _Claims).claims, read_rows(results)
    ids = [claim.id for claim in found]
    for claim in found:
        if ids.count(claim.id) > 1:
            raise ResultsError(f"{path.name}: claim '{claim.id}' is there twice")
        ours = [_row(wanted, rows, claim) for wanted in claim.ours]
        if None in ours:
            if claim.verdict in ("same", "different"):
                missing = claim.ours[ours.index(None)]
                raise ResultsError(
                    f"{path.name}: claim '{claim.id}' is judged but there is no row {missing}"
                )
            continue
        for rule in claim.holds:
            if equal := _EQUAL.fullmatch(rule):
                left, right = _reach(*(ours[int(i)] for i in equal.groups()), results)
            else:
                left, right = (_sum(side, ours) for side in rule.split("<"))
            if not left < right:
                raise ResultsError(
                    f"{path.name}: claim '{claim.id}': '{rule}' is {left:.4g} < {right:.4g}, which "
                    "does not hold: judge the claim again"
                )
    return found


def _reach(a: Row, b: Row, results: Path) -> tuple[float, float]:
    """How far two rows may be apart, as |mean| + 2 standard errors of their paired differences, and
    the margin; infinitely far without pairs. Raises ResultsError for what has no margin."""
    if a.metric != b.metric or a.metric not in MARGINS:
        raise ResultsError(f"claims.yml: no margin makes {a.id} and {b.id} equal")
    apart = _apart(a, b, results)
    if len(apart) < 2:
        return math.inf, MARGINS[a.metric]
    return abs(statistics.mean(apart)) + 2 * _error(apart), MARGINS[a.metric]


def _apart(a: Row, b: Row, results: Path) -> list[float]:
    """How much more b has than a, by picture; empty where the values of pictures were not kept."""
    of_a, of_b = (pictures(row, results) for row in (a, b))
    return [of_b[name] - of_a[name] for name in of_a] if of_a.keys() == of_b.keys() else []


def _error(apart: Sequence[float]) -> float:
    return statistics.stdev(apart) / math.sqrt(len(apart))


def _read_yaml(path: Path, form: type[_Strict]) -> Any:
    try:
        return form.model_validate(yaml.safe_load(path.read_text("utf-8")))
    except FileNotFoundError:
        raise ResultsError(f"{path.name} is missing from {path.parent.name}/") from None
    except (ValidationError, yaml.YAMLError) as error:
        raise ResultsError(f"{path.name} does not fit: {error}") from None


def _row(wanted: Wanted, rows: Sequence[Row], claim: Claim) -> Row | None:
    """The row that a claim means; None if there is none. Raises ResultsError for several."""
    wanted = {"split": "test"} | wanted
    try:
        return one(rows, **wanted) if select(rows, **wanted) else None
    except ResultsError as error:
        raise ResultsError(f"claims.yml: claim '{claim.id}': {error}") from None


def _sum(side: str, rows: Sequence[Row]) -> float:
    first, sign, second = _SUM.fullmatch(side).groups()
    a, b = (
        0.0 if term is None else rows[int(term[1:])].value if term[0] == "#" else float(term)
        for term in (first, second)
    )
    return a - b if sign == "-" else a + b


def beside(claim: Claim, rows: Sequence[Row]) -> list[Row]:
    """Our rows that stand beside a claim; what is not there is left out."""
    return [row for wanted in claim.ours if (row := _row(wanted, rows, claim))]


def differences(claim: Claim, rows: Sequence[Row], results: Path = RESULTS) -> list[str]:
    """What the rules of a claim compare, in words: for each two rows of one metric on the same
    pictures the mean of the paired differences, its standard error over pictures where values of
    pictures were kept, and the number of seeds of both."""
    ours, found = beside(claim, rows), {}
    for rule in claim.holds if len(ours) == len(claim.ours) else ():
        named = tuple(dict.fromkeys(int(i) for i in re.findall(r"#(\d+)", rule)))
        if len(named) != 2 or tuple(reversed(named)) in found:
            continue
        a, b = (ours[i] for i in named)
        if a.run != b.run and all(getattr(a, f) == getattr(b, f) for f in ALIKE):
            found[named] = _difference(a, b, rows, results)
    return list(found.values())


def _difference(a: Row, b: Row, rows: Sequence[Row], results: Path) -> str:
    """How much more b has than a."""
    metric, apart = METRICS[a.metric], _apart(a, b, results)
    digits = 2 if metric.digits is None else metric.digits
    seeds = " and ".join(str(len(seeds_of(row, rows))) for row in (b, a))
    many = "a seed each" if seeds == "1 and 1" else f"{seeds} seeds"
    if len(apart) > 1:
        error = _error(apart)
        places = max(digits, 1 - math.floor(math.log10(error)) if error else 0)
        number = f"{statistics.mean(apart):+.{places}f} ± {error:.{places}f}"
        title = metric.title.removesuffix(", pooled")  # of one picture
        many = f"in pairs of {len(apart):,} pictures, {many}"
    else:
        title = metric.title
        number, many = f"{b.value - a.value:+.{digits}f}", f"not in pairs, {many}"
    unit = "" if metric.unit == "1" else f" {metric.unit}"
    what = "" if title == metric.unit else f"{title}, "
    return f"{b.run} less {a.run}: {number}{unit} ({what}{many})"


def told(claim: Claim) -> str:
    """What the paper says, its number included; what is unconfirmed is never told as a fact."""
    digits = 3 if claim.unit == "F" else 2
    number = "" if claim.value is None else f": {claim.value:.{digits}f} {claim.unit}"
    doubt = "(unconfirmed) " if claim.tag == "unconfirmed" else ""
    return doubt + claim.says + number


def text(results: Path = RESULTS) -> str:
    """The claims as Markdown, by the part of the paper."""
    rows, parts = read_rows(results), {}
    for claim in read(results):
        lines = [f"- **{claim.verdict}**: {told(claim)}"]
        lines += [
            f"  - ours: {valued(row)}; {described(row)} (row `{row.id}`)"
            for row in beside(claim, rows)
        ]
        lines += [f"  - apart: {words}" for words in differences(claim, rows, results)]
        lines += [f"  - cause: {claim.cause}", f"  - would change it: {claim.would_change}"]
        parts.setdefault(claim.place, []).append("\n".join(lines))
    return "\n\n".join(f"## {part}\n\n" + "\n".join(of) for part, of in parts.items())


# --- what others have published -------------------------------------------------------------------

Number = Annotated[float, Field(gt=0)]
Kind = Literal[  # metrics, and F of vessels
    "psnr", "ssim", "psnr_rgb", "ssim_rgb", "consistency", "bits_per_dim", "lpips", "f"
]


class _Source(_Strict):
    method: Text
    task: Literal[*TASKS]
    setting: Text
    source: Text
    incomparable: str | None = None


class _Work(_Source):
    """An entry of published.yml: several numbers of one work, or pairs of a number and its
    deviation, by image set and kind."""

    values: dict[str, dict[Kind, Number | tuple[Number, Number]]]


class _Works(_Strict):
    published: tuple[_Work, ...]


class Published(_Source):
    """A number of other work that stands beside ours. Never one of the paper.

    Args:
        deviation: standard deviation over images, where it is known.
        setting: how it was made. `source`: where we read it.
        incomparable: why it must not be compared with a row of ours; None if it may.
    """

    data: str
    metric: str
    value: float
    deviation: float | None


def published(results: Path = RESULTS, **wanted: Any) -> list[Published]:
    """What `results/published.yml` holds, a number each, of those whose fields are as `wanted`
    says, see `results.select`: `published(data="set5", metric="psnr")`. Raises ResultsError."""
    found = []
    for work in _read_yaml(results / "published.yml", _Works).published:
        about = work.model_dump(exclude={"values"})
        for data, values in work.values.items():
            for metric, number in values.items():
                value, deviation = number if isinstance(number, tuple) else (number, None)
                figure = {"data": data, "metric": metric, "value": value, "deviation": deviation}
                found.append(Published(**about, **figure))
    return select(found, **wanted)
