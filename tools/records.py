"""What is published here, described in the standards of others, as one folder to upload.

    python -m tools.records      writes _build/records/ and codemeta.json

rows.csv                  every value of results/ with all its fields
claims.yml, published.yml what the paper says beside our rows, and numbers that others published
croissant.json            Croissant 1.0 with its RAI fields, of the rows and the weights
ro-crate-metadata.json    RO-Crate 1.1, of the runs: what was trained on what, by which command
every-eval-ever/          the rows of metrics with a direction, in the schema of Every Eval Ever
runs/                     configuration, history, card and weights of each run
codemeta.json             of the software; this one is in the repository
"""

import csv
import hashlib
import json
import re
import shutil
import sys
import tomllib
from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path
from typing import Any, get_args, get_type_hints

import yaml

from cnf.replication import results, run_folder
from cnf.replication.data import catalogue
from cnf.replication.places import REPOSITORY
from cnf.replication.presentation import presentation_of
from cnf.replication.results import MEASURES, Row
from cnf.replication.tasks.task import TASKS

OUT = REPOSITORY / "_build" / "records"
CITATION = yaml.safe_load((REPOSITORY / "CITATION.cff").read_text("utf-8"))
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text("utf-8"))["project"]
AUTHORS = CITATION["authors"][0]["name"]
PAPER = "https://arxiv.org/abs/1912.00042"
LICENCE = "https://spdx.org/licenses/MIT"  # of everything but weights, see `terms`
MIXED = (
    f"Rows, claims and records: MIT, {LICENCE}. Weights were learned from data with terms of their "
    "own: each file of weights says which."
)
LISTS = {"claims.yml": "The paper's claims beside rows.", "published.yml": "Numbers of others."}
NOT_HERE = "sha256 of the weights that were scored; where `weights` is empty, no file here has them"
OF_RUN = ("config.json", "history.jsonl", "card.md", "weights.safetensors")
NAME = "Rows and weights of a replication of conditional normalizing flows"
ABOUT = (
    "Values that trained models of p(y|x) reach on test pictures, in super-resolution and in the "
    "segmentation of retinal vessels, each with its standard error, setting, seed, hashes and "
    "command; and the weights of released models. No picture is included."
)


# -- rows as CSV -----------------------------------------------------------------------------------

TYPES = {  # of the fields of a row, without None
    name: next(kind for kind in (get_args(hint) or (hint,)) if kind is not type(None))
    for name, hint in get_type_hints(Row).items()
}


def write_csv(rows: Sequence[Row], path: Path) -> None:
    """Every field of every row; an empty cell is None."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["id", *TYPES])
        writer.writerows([row.id, *(_cell(getattr(row, name)) for name in TYPES)] for row in rows)


def _cell(value: Any) -> str:
    return "" if value is None else value if isinstance(value, str) else json.dumps(value)


def read_csv(path: Path) -> list[Row]:
    """The rows that `write_csv` wrote."""
    with path.open(newline="", encoding="utf-8") as file:
        return [
            Row(**{name: _value(line[name], name) for name in TYPES})
            for line in csv.DictReader(file)
        ]


def _value(text: str, name: str) -> Any:
    if text == "":
        return None
    return text if TYPES[name] is str else json.loads(text)


# -- Croissant -------------------------------------------------------------------------------------


def croissant(rows: Sequence[Row], folder: Path) -> dict[str, Any]:
    """The description of `rows.csv` and of the weights in a folder of records."""
    import mlcroissant as mlc

    kinds = {str: mlc.DataType.TEXT, bool: mlc.DataType.BOOL, int: mlc.DataType.INTEGER}
    kinds[float] = mlc.DataType.FLOAT
    texts = {"weights_sha256": NOT_HERE}

    def field(name: str) -> mlc.Field:
        source = mlc.Source(file_object="rows.csv", extract=mlc.Extract(column=name))
        return mlc.Field(
            id=f"rows/{name}", name=name, description=texts.get(name),
            data_types=[kinds[TYPES.get(name, str)]], source=source,
        )  # fmt: skip

    def file(path: Path, kind: str, text: str) -> mlc.FileObject:
        place = path.relative_to(folder).as_posix()
        return mlc.FileObject(
            id=place, name=place, description=text, content_url=place,
            content_size=f"{path.stat().st_size} B", encoding_formats=[kind],
            sha256=run_folder.file_sha256(path),
        )  # fmt: skip

    files = [file(folder / "rows.csv", mlc.EncodingFormat.CSV, "Every value, a line each.")]
    files += [file(folder / name, "application/yaml", text) for name, text in LISTS.items()]
    for path in sorted(folder.glob("runs/*/weights.safetensors")):
        files.append(file(path, "application/octet-stream", " ".join(terms(path.parent))))
    metadata = mlc.Metadata(
        name=NAME, description=ABOUT, license=[MIXED], version=CITATION["version"],
        creators=[mlc.Organization(name=AUTHORS)], url=PROJECT.get("urls", {}).get("Repository"),
        date_published=datetime.fromisoformat(newest(rows)), cite_as=bibtex(),
        distribution=files,
        record_sets=[
            mlc.RecordSet(id="rows", name="rows", fields=[field(n) for n in ("id", *TYPES)])
        ],
        **responsible(),
    )  # fmt: skip
    return metadata.to_json()


def responsible() -> dict[str, Any]:
    """The RAI fields of Croissant."""
    limits = [limit for task in TASKS for limit in presentation_of(task).card.limits]
    return {
        "data_collection": (
            "Each value was computed by a command, stored beside it, from the weights of a model "
            "and the test pictures of an image set, whose pixel hash is stored as well."
        ),
        "data_collection_type": ["Experiments", "Software Collection"],
        "data_collection_raw_data": "Image sets of others, not included: see data/README.md.",
        "data_collection_missing_data": "A metric that is not defined for a model has no row.",
        "data_preprocessing_protocol": [
            "Fields of a row say whether x was rounded, the protocol of PSNR and SSIM, and what "
            "bits are divided by."
        ],
        "data_use_cases": [
            "Comparing models under the same setting; computing a value again; judging the claims "
            "of the paper. Bits on a stand-in compare models of this data set with each other only."
        ],
        "data_biases": [
            "Vessels: twenty test photographs from one camera and one screening programme.",
            "Pictures: those of ImageNet and of small benchmarks.",
        ],
        "data_limitations": [
            "Tiny-ImageNet stands in for ImageNet32 and ImageNet64 (field stand_in).",
            *limits,
        ],
        "data_social_impact": (
            "Samples of super-resolution invent details; masks of vessels are not for diagnosis."
        ),
        "personal_sensitive_information": [
            "No picture and nothing about a person is included. Some weights were trained on "
            "published research photographs of retinas."
        ],
        "data_release_maintenance_plan": (
            "A value that is computed again replaces the old one; git keeps the history, and "
            "CHANGELOG.md says what changed."
        ),
    }


def terms(run: Path) -> list[str]:
    """What may be done with the weights of a published run."""
    sets = [run_folder.read_config(run).data.train]
    before = run_folder.ancestors(run_folder.read_record(run), results.RESULTS)
    sets += [record["config"]["data"]["train"] for record in before.values()]
    return catalogue.terms(*sets)


def newest(rows: Sequence[Row]) -> str:
    return max(row.date for row in rows)


def bibtex() -> str:
    return (
        f"@software{{cnf, title = {{{CITATION['title']}}}, author = {{{{{AUTHORS}}}}}, "
        f"version = {{{CITATION['version']}}}}}"
    )


# -- RO-Crate --------------------------------------------------------------------------------------


def ro_crate(rows: Sequence[Row], folder: Path) -> dict[str, Any]:
    """The runs in a folder of records: a training is an action with data, software and result."""
    graph: list[dict[str, Any]] = []
    trained_on: dict[str, dict[str, Any]] = {}
    licences: dict[str, dict[str, Any]] = {}
    parts = [{"@id": name} for name in ("rows.csv", *LISTS, "every-eval-ever/")]
    for run in sorted((folder / "runs").iterdir()):
        place, record = f"runs/{run.name}/", run_folder.read_record(run, keys=["config"])
        files = [p for p in sorted(run.iterdir()) if p.name in OF_RUN]
        data = record["config"]["data"]["train"]
        trained_on[data] = {"@id": f"#data-{data}", "@type": "Dataset", "name": data}
        trained_on[data]["description"] = "; ".join(
            catalogue.find_entry(name).source for name in catalogue.parts(data)
        )
        entry = {
            "@id": place, "@type": "Dataset", "name": run.name,
            "hasPart": [{"@id": place + path.name} for path in files],
        }  # fmt: skip
        if not (run / "weights.safetensors").exists():
            entry["description"] = "The weights of this run are not included."
        graph.append(entry)
        licence = licence_of(run)
        licences[licence["@id"]] = licence
        graph += [
            {
                "@id": place + path.name, "@type": "File", "name": path.name,
                "contentSize": str(path.stat().st_size),
                "identifier": f"sha256:{run_folder.file_sha256(path)}",
                "license": {"@id": licence["@id"] if path.suffix == ".safetensors" else LICENCE},
            }
            for path in files
        ]  # fmt: skip
        graph.append(
            {
                "@id": f"#training-{run.name}", "@type": "CreateAction",
                "name": f"training of {run.name}, seed {record.get('seed')}",
                "description": "; ".join(record.get("commands", [])),
                "instrument": {"@id": "#cnf"}, "object": {"@id": f"#data-{data}"},
                "result": {"@id": place},
            }
        )  # fmt: skip
        parts.append({"@id": place})
    root = {
        "@id": "./", "@type": "Dataset", "name": NAME, "description": ABOUT,
        "datePublished": newest(rows), "license": {"@id": "#terms"}, "hasPart": parts,
        "author": {"@id": "#authors"}, "citation": {"@id": PAPER},
        "mentions": [{"@id": e["@id"]} for e in graph if e["@type"] == "CreateAction"],
    }  # fmt: skip
    head = [
        {
            "@id": "ro-crate-metadata.json", "@type": "CreativeWork", "about": {"@id": "./"},
            "conformsTo": {"@id": "https://w3id.org/ro/crate/1.1"},
        },
        root,
        {"@id": "#authors", "@type": "Organization", "name": AUTHORS},
        {"@id": LICENCE, "@type": "CreativeWork", "name": "MIT"},
        {"@id": "#terms", "@type": "CreativeWork", "name": "Terms", "description": MIXED},
        {"@id": PAPER, "@type": "ScholarlyArticle", "name": CITATION["references"][0]["title"]},
        {
            "@id": "#cnf", "@type": "SoftwareApplication", "name": PROJECT["name"],
            "version": PROJECT["version"],
        },
        {
            "@id": "rows.csv", "@type": "File", "name": "rows.csv", "encodingFormat": "text/csv",
            "description": f"Every value, a line each. weights_sha256: {NOT_HERE}.",
            "license": {"@id": LICENCE},
        },
        *(
            {
                "@id": name, "@type": "File", "name": name, "encodingFormat": "application/yaml",
                "description": text, "license": {"@id": LICENCE},
            }
            for name, text in LISTS.items()
        ),
        records_of_others(folder),
    ]  # fmt: skip
    return {
        "@context": "https://w3id.org/ro/crate/1.1/context",
        "@graph": head
        + [licences[name] for name in licences if name != LICENCE]
        + list(trained_on.values())
        + graph,
    }


def licence_of(run: Path) -> dict[str, Any]:
    """The entity of the terms of a run's weights: MIT, or the words of the catalogue."""
    found = terms(run)
    if found == [catalogue.FREE]:
        return {"@id": LICENCE, "@type": "CreativeWork", "name": "MIT"}
    text = " ".join(found)
    name = f"#terms-{hashlib.sha256(text.encode()).hexdigest()[:8]}"
    return {"@id": name, "@type": "CreativeWork", "name": "Terms of weights", "description": text}


def records_of_others(folder: Path) -> dict[str, Any]:
    """The entity of the folder of records of Every Eval Ever."""
    place = "every-eval-ever/"
    count = len(list((folder / place).glob("*/*.json")))
    text = f"{count} files in the schema of Every Eval Ever {EEE}, one an evaluation."
    return {"@id": place, "@type": "Dataset", "name": place, "description": text}


# -- Every Eval Ever -------------------------------------------------------------------------------

EEE = "0.2.1"  # the version of github.com/evaleval/every_eval_ever/eval.schema.json
# The schema asks whether less is better. A ratio or coverage that is best at a value is left out.
LESS = re.compile(
    r"bits_per_.*|second_bits|calibration_error|nonfinite_.*|reconstruction_error"
    r"|energy_distance.*|gradient_distance.*|(components|holes)_error.*|chroma_error"
)
MORE = re.compile(r"psnr.*|ssim.*|f_.*|auc|disagreement_auc|consistency.*|matched_iou|accuracy")


def has_direction(row: Row) -> bool:
    """Whether less, or more, of the metric is better."""
    return bool(LESS.fullmatch(row.metric) or MORE.fullmatch(row.metric))


def every_eval_ever(rows: Sequence[Row]) -> dict[str, Any]:
    """The rows of one evaluation file as one record; every field of a row is in its details."""
    first = rows[0]
    when = str(int(datetime.fromisoformat(newest(rows)).replace(tzinfo=UTC).timestamp()))
    return {
        "schema_version": EEE,
        "evaluation_id": f"{first.file}/cnf/{first.run}/{when}",
        "retrieved_timestamp": when,
        "source_metadata": {
            "source_name": NAME,
            "source_type": "evaluation_run",
            "source_organization_name": AUTHORS,
            "evaluator_relationship": "first_party",
        },
        "eval_library": {"name": "cnf", "version": CITATION["version"]},
        "model_info": {"name": first.run, "id": f"cnf/{first.run}", "developer": AUTHORS},
        "evaluation_results": [_result(row) for row in rows],
    }


def _result(row: Row) -> dict[str, Any]:
    score: dict[str, Any] = {"score": row.value}
    score["details"] = {name: json.dumps(getattr(row, name)) for name in TYPES}
    if row.standard_error is not None:
        error = {"standard_error": {"value": row.standard_error}, "num_samples": row.num_images}
        score["uncertainty"] = error
    return {
        "evaluation_name": row.id,
        "source_data": {"dataset_name": f"{row.data} {row.split}", "source_type": "other"},
        "metric_config": {
            "evaluation_description": MEASURES[row.metric].title,
            "lower_is_better": bool(LESS.fullmatch(row.metric)),
        },
        "score_details": score,
    }


def rows_of(record: dict[str, Any]) -> list[Row]:
    """The rows of a record of Every Eval Ever that was made here."""
    details = [result["score_details"]["details"] for result in record["evaluation_results"]]
    return [Row(**{name: json.loads(text) for name, text in one.items()}) for one in details]


# -- the software ----------------------------------------------------------------------------------


def codemeta() -> dict[str, Any]:
    """CodeMeta 3.0, from CITATION.cff and pyproject.toml."""
    paper = CITATION["references"][0]
    return {
        "@context": "https://w3id.org/codemeta/3.0",
        "@type": "SoftwareSourceCode",
        "name": PROJECT["name"],
        "description": PROJECT["description"],
        "version": PROJECT["version"],
        "license": [f"https://spdx.org/licenses/{name}" for name in CITATION["license"]],
        "author": [{"@type": "Organization", "name": AUTHORS}],
        "programmingLanguage": f"Python {PROJECT['requires-python']}",
        "softwareRequirements": PROJECT["dependencies"],
        "referencePublication": {
            "@type": "ScholarlyArticle",
            "@id": PAPER,
            "name": paper["title"],
            "author": [
                {"@type": "Person", "givenName": a["given-names"], "familyName": a["family-names"]}
                for a in paper["authors"]
            ],
            "datePublished": str(paper["year"]),
        },
    }


# -- files -----------------------------------------------------------------------------------------


def write_json(path: Path, content: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(content, indent=1, ensure_ascii=False, default=str)
    path.write_text(text + "\n", "utf-8")


def write(rows: Sequence[Row], folder: Path, with_croissant: bool = True) -> None:
    """Write the records of these rows and of their runs into an empty folder."""
    folder.mkdir(parents=True)
    write_csv(rows, folder / "rows.csv")
    for name in LISTS:
        shutil.copyfile(results.RESULTS / name, folder / name)
    (folder / "runs").mkdir()
    for run in sorted({row.trained for row in rows}):
        if (results.RESULTS / run / "config.json").exists():
            (folder / "runs" / run).mkdir()
            for path in [results.RESULTS / run / name for name in OF_RUN]:
                if path.exists():
                    shutil.copyfile(path, folder / "runs" / run / path.name)
    directed = sorted(filter(has_direction, rows), key=lambda row: (row.run, row.file))
    for (run, file), group in groupby(directed, key=lambda row: (row.run, row.file)):
        record = every_eval_ever(list(group))
        write_json(folder / "every-eval-ever" / run / f"{file}.json", record)
    write_json(folder / "ro-crate-metadata.json", ro_crate(rows, folder))
    if with_croissant:
        write_json(folder / "croissant.json", croissant(rows, folder))


def main() -> int:
    write_json(REPOSITORY / "codemeta.json", codemeta())
    shutil.rmtree(OUT, ignore_errors=True)
    try:
        write(results.read_rows(), OUT)
    except ImportError as error:
        print(f"{error}: pip install -e '.[records]', or `make records`", file=sys.stderr)
        return 2
    size = sum(path.stat().st_size for path in OUT.rglob("*") if path.is_file())
    print(f"{OUT.relative_to(REPOSITORY)}: {size / 1e6:.0f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
