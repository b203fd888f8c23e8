"""The claims of the paper beside our rows (`results/claims.yml`), and numbers that others have
published (`results/published.yml`)."""

import json
import math
import re
import statistics
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from cnf.errors import ResultsError
from cnf.replication.measures import MEASURES
from cnf.replication.places import IS_CHECKOUT
from cnf.replication.results.rows import (
    COMPARABLE,
    RESULTS,
    Row,
    describe,
    one,
    pictures,
    read_rows,
    seeds_of,
    select,
    value_with_unit,
)

Verdict = Literal[
    "same", "different", "split", "undecided", "implemented", "second-hand", "could not", "open"
]
JUDGED = "same", "different", "split", "undecided"  # by rows that could have come out otherwise
Text = Annotated[str, Field(min_length=1)]
Wanted = dict[str, Any]  # the fields that `one` finds a row by
_TERM = r"((?:\d+(?:\.\d+)?\s*\*\s*)?(?:[#@]\d+|(?:low|high)\(#\d+\))|\d+(?:\.\d+)?)"
_SUM = re.compile(rf"\s*{_TERM}(?:\s*([+-])\s*{_TERM})?\s*")
_EQUAL = re.compile(r"\s*#(\d+)\s*=\s*#(\d+)\s*")
MOST_WORDS = 60  # of a cause; the story is in the README of an experiment
MARGINS = {  # two values closer than this count as equal; registered in experiments/seeds
    "bits_per_dim": 0.01,
    "bits_per_pixel": 0.001,
    "psnr": 0.1,
    "ssim": 0.002,
    "f_half": 0.005,
    "f_valid": 0.005,
    "f_sample": 0.005,
    "calibration_error": 0.005,
}


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Claim(_Strict):
    """One claim or number of the paper.

    Args:
        place: part of the paper that makes the claim, as far as we know ("abstract").
        says: the claim in our words. `value`, `unit`: its number, where it is one that we recall.
        tag: "confirmed" if a readable copy says so, else "unconfirmed". `source`: which copy.
        verdict: how our result compares; "same" needs a rule that could have failed.
        cause: the reason for the verdict, in at most MOST_WORDS words.
        would_change: the data, the run or the sentence of the paper that would change it.
        ours: our rows, each by its fields as for `one`; the split is "test" unless given.
        measured: numbers of ours that are no rows, as times are: a JSON file of `results/` and the
            keys inside; of a list the mean is meant.
        holds: rules that these rows must satisfy for the verdict to stand. "#0 + 1 < #1": the
            second row is more than 1 above the first; "2 * @0 < @1": the second measured number is
            more than twice the first. "#0 = #1": |mean| + 2 standard errors of the paired
            differences of two rows is below the margin in `MARGINS`. "low(#0)" and "high(#0)" are
            the value less, and plus, two standard errors.
        same_if, different_if: rules that were registered, all of which make the claim "same", or
            "different"; while the verdict is another, at least one of them fails.
        registered: the day on which limits were written down, before the rows that decide, and the
            rules of `holds` or `same_if` that have them; equality has the margins of `MARGINS`.
        cause_holds: rules that the words of `cause` rest on; the verdict does not.
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
    measured: tuple[tuple[Text, ...], ...] = ()
    holds: tuple[Text, ...] = ()
    same_if: tuple[Text, ...] = ()
    different_if: tuple[Text, ...] = ()
    registered: dict[Text, tuple[Text, ...]] = {}
    cause_holds: tuple[Text, ...] = ()

    @property
    def rules(self) -> tuple[str, ...]:
        """Those that hold: of the verdict, then of the cause."""
        return self.holds + self.cause_holds

    @property
    def is_recalled(self) -> bool:
        """Whether no readable copy of the paper has it: its verdict counts if the paper says so."""
        return self.tag == "unconfirmed"

    @model_validator(mode="after")
    def _is_consistent(self):
        is_judged = self.verdict in JUDGED
        if is_judged and not (self.ours or self.measured):
            raise ValueError(f"a claim judged '{self.verdict}' needs a row of ours")
        if self.verdict == "undecided":
            if not (self.same_if and self.different_if):
                raise ValueError("'undecided' needs rules that decide: `same_if`, `different_if`")
        elif is_judged and not self.holds:
            raise ValueError(f"'{self.verdict}' needs a rule that could have failed: `holds`")
        if len(self.cause.split()) > MOST_WORDS:
            raise ValueError(f"a cause has at most {MOST_WORDS} words: put the rest into a README")
        if self.verdict == "same" and self.value is not None and self.tag == "unconfirmed":
            raise ValueError("a recalled number cannot be judged 'same': confirm it first")
        if strange := {*chain(*self.registered.values())} - {*self.holds, *self.same_if}:
            raise ValueError(f"`registered` has {sorted(strange)}, which no rule of the verdict is")
        if (self.value is None) != (self.unit is None):
            raise ValueError("`value` and `unit` go together")
        for rule in self.rules + self.same_if + self.different_if:
            sides = [_SUM.fullmatch(side) for side in rule.split("<")]
            if not _EQUAL.fullmatch(rule) and (len(sides) != 2 or not all(sides)):
                raise ValueError(f"'{rule}' is no rule: write it as '#0 + 0.5 < #1' or '#0 = #1'")
            if not re.search("[#@]", rule):
                raise ValueError(f"'{rule}' needs rows of `ours` or numbers of `measured`")
            for sign, there in (("#", self.ours), ("@", self.measured)):
                if any(int(i) >= len(there) for i in re.findall(rf"{sign}(\d+)", rule)):
                    raise ValueError(f"'{rule}' needs rows or numbers: there are {len(there)}")
        return self


class _Claims(_Strict):
    claims: tuple[Claim, ...]


def read_claims(results: Path = RESULTS) -> tuple[Claim, ...]:
    """The claims of claims.yml, validated against our rows.

    Raises ResultsError, also if a claim that was judged misses a row, or one of its rules is false.
    """
    path = results / "claims.yml"
    claims, rows = _read_yaml(path, _Claims).claims, read_rows(results)
    ids = [claim.id for claim in claims]
    for claim in claims:
        if ids.count(claim.id) > 1:
            raise ResultsError(f"{path.name}: claim '{claim.id}' is there twice")
        ours = rows_of(claim, rows)
        if len(ours) < len(claim.ours):
            if claim.verdict in JUDGED:
                missing = next(wanted for wanted in claim.ours if not _row(wanted, rows, claim))
                raise ResultsError(
                    f"{path.name}: claim '{claim.id}' is judged but there is no row {missing}"
                )
            continue
        numbers = measured_numbers(claim, results)
        for rule in claim.rules:
            left, right = sides(rule, ours, numbers, results)
            if not left < right:
                remedy = "judge the claim" if rule in claim.holds else "write its cause"
                raise ResultsError(
                    f"{path.name}: claim '{claim.id}': '{rule}' is {left:.4g} < {right:.4g}, which "
                    f"does not hold: {remedy} again"
                )
        for verdict, rules in (("same", claim.same_if), ("different", claim.different_if)):
            compared = [sides(rule, ours, numbers, results) for rule in rules]
            if rules and verdict != claim.verdict and all(left < right for left, right in compared):
                raise ResultsError(
                    f"{path.name}: claim '{claim.id}': all rules hold that make it '{verdict}': "
                    "judge the claim again"
                )
    return claims


def sides(
    rule: str, ours: Sequence[Row], numbers: Sequence[float] = (), results: Path = RESULTS
) -> tuple[float, float]:
    """The two sides of a rule of a claim, whose rows are `ours` and whose measured numbers are
    `numbers`: it holds if the left one is smaller. Raises ResultsError for what cannot be equal."""
    if equal := _EQUAL.fullmatch(rule):
        a, b = (ours[int(i)] for i in equal.groups())
        return _equality_sides(a, b, results)
    left, right = (_sum(side, ours, numbers) for side in rule.split("<"))
    return left, right


def _equality_sides(a: Row, b: Row, results: Path) -> tuple[float, float]:
    """The two sides of the rule that two rows are equal: |mean| + 2 standard errors of their paired
    differences (infinite without pairs), and the margin that it must be below. Raises ResultsError
    for a metric without a margin."""
    if a.metric != b.metric or a.metric not in MARGINS:
        raise ResultsError(f"claims.yml: no margin makes {a.id} and {b.id} equal")
    differences = paired_differences(a, b, results)
    if len(differences) < 2:
        return math.inf, MARGINS[a.metric]
    return abs(statistics.mean(differences)) + 2 * _standard_error(differences), MARGINS[a.metric]


def paired_differences(a: Row, b: Row, results: Path) -> list[float]:
    """The value of b less that of a, for each picture; empty where these values were not kept."""
    values_a, values_b = (pictures(row, results) for row in (a, b))
    if values_a.keys() != values_b.keys():
        return []
    return [values_b[name] - values_a[name] for name in values_a]


def _standard_error(differences: Sequence[float]) -> float:
    return statistics.stdev(differences) / math.sqrt(len(differences))


def _read_yaml(path: Path, form: type[_Strict]) -> Any:
    try:
        return form.model_validate(yaml.safe_load(path.read_text("utf-8")))
    except FileNotFoundError:
        remedy = "" if IS_CHECKOUT else ": only the repository has it, clone it"
        raise ResultsError(f"{path.name} is missing from {path.parent.name}/{remedy}") from None
    except (ValidationError, yaml.YAMLError) as error:
        raise ResultsError(f"{path.name} does not fit: {error}") from None


def _row(wanted: Wanted, rows: Sequence[Row], claim: Claim) -> Row | None:
    """The row that a claim means; None if there is none. Raises ResultsError for several."""
    wanted = {"split": "test"} | wanted
    try:
        return one(rows, **wanted) if select(rows, **wanted) else None
    except ResultsError as error:
        raise ResultsError(f"claims.yml: claim '{claim.id}': {error}") from None


def _sum(text: str, rows: Sequence[Row], numbers: Sequence[float]) -> float:
    """One side of a rule, of rows and measured numbers."""

    def term(text: str | None) -> float:
        factor, star, name = (text or "0").rpartition("*")
        if not (found := re.search(r"(low|high)?\(?([#@])(\d+)", name)):
            return float(name)
        end, kind, index = found[1], found[2], int(found[3])
        value = rows[index].value if kind == "#" else numbers[index]
        if end:
            value += (2 if end == "high" else -2) * error_of(rows[index])
        return float(factor) * value if star else value

    if not (found := _SUM.fullmatch(text)):
        raise ResultsError(f"claims.yml: '{text}' is no side of a rule: write it as '#0 + 0.5'")
    first, sign, second = found.groups()
    return term(first) - term(second) if sign == "-" else term(first) + term(second)


def error_of(row: Row) -> float:
    """The standard error of a row. Raises ResultsError if it has none."""
    if row.standard_error is None:
        raise ResultsError(f"claims.yml: {row.id} has no standard error: give limits as numbers")
    return row.standard_error


def counts(claims: Sequence[Claim]) -> str:
    """How many claims have each verdict, in two sentences: first those that a readable copy of the
    paper confirms, then those that we only recall."""
    said = []
    for is_recalled in (False, True):
        verdicts = [claim.verdict for claim in claims if claim.is_recalled == is_recalled]
        numbers = ", ".join(f"{verdicts.count(v)} {v}" for v in get_args(Verdict) if v in verdicts)
        who = "Only recalled, *if the paper says so*" if is_recalled else "Of confirmed claims"
        said += [f"{who} ({len(verdicts)}): {numbers}."] if verdicts else []
    return " ".join(said)


def measured_numbers(claim: Claim, results: Path = RESULTS) -> list[float]:
    """The numbers of a claim that are no rows, in its order. Raises ResultsError."""
    numbers = []
    for name, *keys in claim.measured:
        try:
            found = json.loads((results / name).read_text("utf-8"))
            for key in keys:
                found = found[key]
            numbers.append(statistics.mean(found if isinstance(found, list) else [found]))
        except (OSError, ValueError, LookupError, TypeError) as error:
            message = f"claims.yml: claim '{claim.id}': {name} has no {keys}: {error!r}"
            raise ResultsError(message) from None
    return numbers


def measured_sentences(claim: Claim, results: Path = RESULTS) -> list[str]:
    """The numbers of a claim that are no rows, each with where it is."""
    pairs = zip(claim.measured, measured_numbers(claim, results), strict=True)
    return [f"{number:.4g} ({name}: {', '.join(keys)})" for (name, *keys), number in pairs]


def rows_of(claim: Claim, rows: Sequence[Row]) -> list[Row]:
    """Our rows beside a claim, those that exist."""
    candidates = [_row(fields, rows, claim) for fields in claim.ours]
    return [row for row in candidates if row is not None]


def differences(claim: Claim, rows: Sequence[Row], results: Path = RESULTS) -> list[str]:
    """The comparisons behind the rules of a claim, a sentence for each two rows of one metric on
    the same pictures: the mean of the paired differences, its standard error over pictures (where
    their values were kept), and the number of seeds of both."""
    our_rows, sentences = rows_of(claim, rows), {}
    for rule in claim.rules if len(our_rows) == len(claim.ours) else ():
        indices = tuple(dict.fromkeys(int(i) for i in re.findall(r"#(\d+)", rule)))
        if len(indices) != 2 or tuple(reversed(indices)) in sentences:
            continue
        a, b = (our_rows[i] for i in indices)
        if a.run != b.run and all(getattr(a, f) == getattr(b, f) for f in COMPARABLE):
            sentences[indices] = _difference(a, b, rows, results)
    return list(sentences.values())


def _difference(a: Row, b: Row, rows: Sequence[Row], results: Path) -> str:
    """A sentence that says by how much b exceeds a."""
    metric, paired = MEASURES[a.metric], paired_differences(a, b, results)
    digits = 2 if metric.digits is None else metric.digits
    seeds = " and ".join(str(len(seeds_of(row, rows))) for row in (b, a))
    seeds_text = "a seed each" if seeds == "1 and 1" else f"{seeds} seeds"
    if len(paired) > 1:
        error = _standard_error(paired)
        places = max(digits, 1 - math.floor(math.log10(error)) if error else 0)
        number = f"{statistics.mean(paired):+.{places}f} ± {error:.{places}f}"
        title = metric.title.removesuffix(", pooled")  # of one picture
        seeds_text = f"in pairs of {len(paired):,} pictures, {seeds_text}"
    else:
        title = metric.title
        number, seeds_text = f"{b.value - a.value:+.{digits}f}", f"not in pairs, {seeds_text}"
    unit = "" if metric.unit == "1" else f" {metric.unit}"
    metric_text = "" if title == metric.unit else f"{title}, "
    return f"{b.run} less {a.run}: {number}{unit} ({metric_text}{seeds_text})"


def statement(claim: Claim) -> str:
    """What the paper says, with its number; an unconfirmed claim is marked as such."""
    digits = 3 if claim.unit == "F" else 2
    number = "" if claim.value is None else f": {claim.value:.{digits}f} {claim.unit}"
    doubt = "(unconfirmed) " if claim.tag == "unconfirmed" else ""
    return doubt + claim.says + number


def text(results: Path = RESULTS) -> str:
    """The claims as Markdown, grouped by the part of the paper."""
    rows = read_rows(results)
    parts: dict[str, list[str]] = {}
    for claim in read_claims(results):
        lines = [f"- **{claim.verdict}**: {statement(claim)}"]
        lines += [
            f"  - ours: {value_with_unit(row)}; {describe(row)} (row `{row.id}`)"
            for row in rows_of(claim, rows)
        ]
        lines += [f"  - measured: {words}" for words in measured_sentences(claim, results)]
        lines += [f"  - difference: {words}" for words in differences(claim, rows, results)]
        lines += [f"  - cause: {claim.cause}", f"  - would change it: {claim.would_change}"]
        parts.setdefault(claim.place, []).append("\n".join(lines))
    return "\n\n".join(f"## {part}\n\n" + "\n".join(entries) for part, entries in parts.items())


# --- what others have published -------------------------------------------------------------------

Number = Annotated[float, Field(gt=0)]
Kind = Literal[  # metrics, and F of vessels
    "psnr", "ssim", "psnr_rgb", "ssim_rgb", "consistency", "bits_per_dim", "lpips", "f"
]


class _Source(_Strict):
    method: Text
    task: Literal["sr", "vessels"]
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
    """The numbers in `results/published.yml` whose fields have the wanted values, see
    `results.select`: `published(data="set5", metric="psnr")`. Raises ResultsError."""
    numbers = []
    for work in _read_yaml(results / "published.yml", _Works).published:
        about = work.model_dump(exclude={"values"})
        for data, values in work.values.items():
            for metric, number in values.items():
                value, deviation = number if isinstance(number, tuple) else (number, None)
                figure = {"data": data, "metric": metric, "value": value, "deviation": deviation}
                numbers.append(Published(**about, **figure))
    return select(numbers, **wanted)
