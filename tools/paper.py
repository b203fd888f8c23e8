"""The replication as a paper, a PDF in the form of journals that take replications.

    python -m tools.paper        tools/paper.typ -> _build/paper.pdf   (pip install -e '.[paper]')

The template names rows of results/ and pairs of them; every number that it prints comes from
them, from results/claims.yml, or is counted here. A row that is not there is an error, and so is a
comparison in the text (`fewer`, `holds`) that the rows do not support.
"""

import itertools
import json
import math
import re
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

import yaml

from cnf.errors import CnfError, ResultsError
from cnf.replication import results, run_folder
from cnf.replication.measures import MEASURES
from cnf.replication.places import REPOSITORY
from cnf.replication.results import claims
from cnf.replication.results.claims import paired_differences
from cnf.replication.results.rows import Row
from tools import paper_claims

TEMPLATE = Path(__file__).with_suffix(".typ")
OUT = REPOSITORY / "_build" / "paper.pdf"
MOST_PAGES = 12
ROW = re.compile(r'row\("([^"]+)"\)')
PAIR = re.compile(r'paired\("([^"]+)",\s*"([^"]+)"\)')
RUN = re.compile(r'run\("([^"]+)"\)')
PICTURE = re.compile(r'image\("/(results/[^"]+)"')


# -- numbers ---------------------------------------------------------------------------------------


def significant(number: float) -> str:
    """An error with one significant digit, two if it begins with 1: 0.00004, 0.012."""
    if not number:
        return "0"
    mantissa, exponent = f"{number:.0e}".split("e")
    return (
        f"{number:.{max(0, -int(exponent) + (mantissa == '1' and number >= 10 ** int(exponent)))}f}"
    )


def number(row: Row, rows: Sequence[Row]) -> dict[str, Any]:
    """A value as the template prints it: the mean over the seeds of its training, the standard
    error over pictures of the given seed, and the deviation over seeds. `low`, `high`: of seeds."""
    values = [other.value for other in results.seeds_of(row, rows)]
    metric, mean = MEASURES[row.metric], statistics.mean(values)
    text = ("≤ " if row.is_bound else "") + metric.write(mean)
    return {
        "value": mean,
        "values": values,
        "low": min(values),
        "high": max(values),
        "each": [metric.write(value) for value in values],
        "text": text,
        "error": "" if row.standard_error is None else metric.write(row.standard_error),
        "unit": "" if metric.unit == "1" else metric.unit,
        "seeds": len(values),
        "spread": significant(statistics.stdev(values)) if len(values) > 1 else "",
        "samples": row.samples,
        "minutes": None if row.wall_s is None else round(row.wall_s / 60),
        "steps": f"{row.steps or 0:,}",
        "pictures": f"{row.num_images:,}",
    }


def pair(a: Row, b: Row, rows: Sequence[Row]) -> dict[str, Any]:
    """b less a, picture by picture: the mean over pairs of seeds, and two standard errors over
    pictures of that mean. Where both sides have several seeds, equal seeds are paired; else the
    only seed of one side is paired with each of the other. Seeds whose single pictures were not
    kept are left out (`seeds` counts the pairs). Raises ResultsError where none is left."""
    of_a, of_b = ({r.seed: r for r in results.seeds_of(row, rows)} for row in (a, b))
    if min(len(of_a), len(of_b)) > 1:
        seeds = [(s, s) for s in sorted(of_a.keys() & of_b.keys(), key=str)]
    else:
        seeds = [*itertools.product(sorted(of_a, key=str), sorted(of_b, key=str))]
    found = [paired_differences(of_a[s], of_b[t], results.RESULTS) for s, t in seeds]
    by_seed = [values for values in found if values]
    if not by_seed:
        raise ResultsError(f"{TEMPLATE.name}: {a.id} and {b.id} have no pairs of pictures")
    by_picture = [statistics.mean(values) for values in zip(*by_seed, strict=True)]
    means = [statistics.mean(values) for values in by_seed]
    value = statistics.mean(by_picture)
    two_errors = 2 * statistics.stdev(by_picture) / math.sqrt(len(by_picture))
    text = significant(two_errors)  # one digit of the interval, two if it begins with 1
    digits = max(MEASURES[a.metric].digits or 2, len(text.partition(".")[2]))
    unit = MEASURES[a.metric].unit
    return {
        "value": value,
        "low": value - two_errors,
        "high": value + two_errors,
        "text": f"{value:.{digits}f}",
        "ends": [f"{value - two_errors:.{digits}f}", f"{value + two_errors:.{digits}f}"],
        "of_seeds": [f"{end:.{digits}f}" for end in (min(means), max(means))],
        "unit": "" if unit == "1" else unit,
        "seeds": len(by_seed),
    }


def content(template: str, folder: Path = results.RESULTS) -> dict[str, Any]:
    """Everything that the template reads. Raises ResultsError naming a row, a run or a picture that
    it names and that is not there, or a claim whose rule fails."""
    rows = results.read_rows(folder)
    by_id = {row.id: row for row in rows}
    named = dict.fromkeys(ROW.findall(template))
    pairs = dict.fromkeys(PAIR.findall(template))
    for name in [*named, *itertools.chain(*pairs)]:
        if name not in by_id:
            raise ResultsError(f"{TEMPLATE.name} names {name}, which no row of results/ is")
    for name in PICTURE.findall(template):
        if not (REPOSITORY / name).exists():
            raise ResultsError(f"{TEMPLATE.name} shows {name}, which is not there")
    trained = {r.weights_sha256: r for r in rows if r.weights_sha256 and r.run == r.trained}
    of_run = {row.run: row for row in trained.values()}
    for name in RUN.findall(template):
        if name not in of_run:
            raise ResultsError(f"{TEMPLATE.name} names the run {name}, which was not trained")
    judged, cited = claims.read_claims(folder), read_yaml("CITATION.cff")
    hours = [core_hours(row) for row in trained.values() if row.wall_s is not None]
    return {
        "rows": {name: number(by_id[name], rows) for name in named},
        "pairs": {f"{a}|{b}": pair(by_id[a], by_id[b], rows) for a, b in pairs},
        "runs": {name: settings(of_run[name], folder) for name in RUN.findall(template)},
        "verdicts": {v: counted(judged, v) for v in get_args(claims.Verdict)},
        "claims": [claim_of(claim, rows, folder) for claim in judged],
        "recalled": sum(claim.value is not None for claim in judged),
        "trainings": len(trained),
        "hours": round(sum(hours)),
        "longest": f"{max(hours):.0f}",
        "values": len(rows),
        "published": published_of(folder),
        "seconds": seconds_of_a_sample(folder),
        "version": cited["version"],
        "authors": ", ".join(map(author, cited["authors"])),
        "address": read_yaml("_config.yml")["repository"]["url"],
    }


def read_yaml(name: str) -> dict[str, Any]:
    """A file of the repository."""
    return yaml.safe_load((REPOSITORY / name).read_text("utf-8"))


def author(entry: dict[str, str]) -> str:
    """The name of an author as CITATION.cff has it: of a group, or of a person."""
    return entry.get("name") or f"{entry['given-names']} {entry['family-names']}"


def seconds_of_a_sample(folder: Path) -> dict[str, str]:
    """Mean seconds of one sample for the photographs of DRIVE's size, by the run of the model."""
    timed = json.loads((folder / "bench" / "samples.json").read_text("utf-8"))
    return {run: f"{statistics.mean(times):.2f}" for run, times in timed["seconds"].items()}


def counted(judged: Sequence[claims.Claim], verdict: str) -> dict[str, int]:
    """How many claims have a verdict: of those that a readable copy confirms, of the recalled."""
    found = [claim.tag for claim in judged if claim.verdict == verdict]
    return {tag: found.count(tag) for tag in ("confirmed", "unconfirmed")}


def published_of(folder: Path) -> dict[str, str]:
    """Numbers of others that the text compares with, by method, set and metric."""
    found = [p for p in claims.published(folder) if p.incomparable is None]
    digits = {"psnr": 2}
    return {
        f"{p.method}|{p.data}|{p.metric}": f"{p.value:.{digits.get(p.metric, 3)}f}" for p in found
    }


def settings(row: Row, folder: Path) -> dict[str, str]:
    """How the run of a row was trained."""
    config = run_folder.read_config(folder / row.run)
    return {
        "run": row.run,
        "data": config.data.train,
        "parameters": f"{run_folder.read_record(folder / row.run)['parameters']:,}",
        "optimizer": f"{config.training.optimizer}, {config.training.lr:g}",
        "steps": f"{row.steps:,} × {config.training.batch_size}",
        "hours": f"{core_hours(row):.1f}",
    }


def claim_of(claim: claims.Claim, rows: Sequence[Row], folder: Path) -> dict[str, Any]:
    """What the template prints of a claim; `effects` if rows that could have failed judge it."""
    fields = {name: getattr(claim, name) for name in ("id", "place", "verdict", "tag", "value")}
    texts = {name: getattr(claim, name).replace("`", "") for name in ("cause", "would_change")}
    is_judged = claim.verdict in claims.JUDGED
    effects = paper_claims.lines(claim, rows, folder) if is_judged else []
    says = claims.statement(claim).replace("(unconfirmed) ", "")
    return fields | texts | {"statement": says, "is_judged": is_judged, "effects": effects}


def core_hours(row: Row) -> float:
    """Hours of processor cores that the training of a row took."""
    several = re.match(r"(\d+) processes", row.hardware or "")
    return row.wall_s / 3600 * (int(several[1]) if several else 1)


# -- the PDF ---------------------------------------------------------------------------------------


def write_sources(folder: Path) -> None:
    """What the template reads: content.json."""
    folder.mkdir(parents=True, exist_ok=True)
    found = content(TEMPLATE.read_text("utf-8"))
    (folder / "content.json").write_text(json.dumps(found, ensure_ascii=False), "utf-8")


def main() -> int:
    try:
        import typst
    except ImportError:
        print("typst is not installed: pip install -e '.[paper]', or `make paper`", file=sys.stderr)
        return 2
    try:
        write_sources(OUT.parent / "paper")
    except CnfError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    pdf = typst.compile(TEMPLATE, root=REPOSITORY)
    from pypdf import PdfReader

    OUT.write_bytes(pdf)
    pages = len(PdfReader(OUT).pages)
    print(f"{OUT.relative_to(REPOSITORY)}: {pages} pages, {len(pdf) / 1e3:.0f} kB")
    if pages > MOST_PAGES:
        print(f"error: at most {MOST_PAGES} pages: shorten {TEMPLATE.name}", file=sys.stderr)
    return int(pages > MOST_PAGES)


if __name__ == "__main__":
    sys.exit(main())
