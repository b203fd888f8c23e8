"""What is published, in the standards of others: nothing is lost, and their libraries read it."""

import json

import pandas as pd
import pytest

from cnf.replication import results, run_folder
from tools import records

ROWS = results.read_rows()
RUN = "vessels-flow-lambda0-s1"  # released, with weights
SOME = [row for row in ROWS if row.run in (RUN, "bicubic")]
# What evaleval/every_eval_ever asks for (eval.schema.json, version 0.2.1, draft-07)
REQUIRED = ["schema_version", "evaluation_id", "retrieved_timestamp", "source_metadata"]
REQUIRED += ["model_info", "eval_library", "evaluation_results"]
REQUIRED_OF_RESULT = ["evaluation_name", "source_data", "metric_config", "score_details"]
EXTRA = "{} is not installed, so {} was NOT read by it: pip install -e '.[records]'"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The records of two runs, without those that need a library."""
    folder = tmp_path_factory.mktemp("records") / "all"
    records.write(SOME, folder, with_croissant=False)
    return folder


def test_rows_come_back_from_csv(tmp_path):
    records.write_csv(ROWS, tmp_path / "rows.csv")
    assert records.read_csv(tmp_path / "rows.csv") == ROWS


def test_rows_come_back_from_every_eval_ever(folder):
    back = []
    for path in sorted((folder / "every-eval-ever").glob("*/*.json")):
        record = json.loads(path.read_text("utf-8"))
        assert set(record) == set(REQUIRED)  # it allows no others at this level
        assert record["schema_version"] == "0.2.1" and record["retrieved_timestamp"].isdigit()
        assert {"name", "id"} <= set(record["model_info"])
        assert {"name", "version"} <= set(record["eval_library"])
        source = record["source_metadata"]
        assert source["source_type"] in ("documentation", "evaluation_run")
        assert source["source_organization_name"]
        assert source["evaluator_relationship"] in ("first_party", "third_party")
        for result in record["evaluation_results"]:
            assert set(result) == set(REQUIRED_OF_RESULT)
            assert {"dataset_name", "source_type"} <= set(result["source_data"])
            assert isinstance(result["metric_config"]["lower_is_better"], bool)
            assert isinstance(result["score_details"]["score"], (int, float))
            assert all(isinstance(v, str) for v in result["score_details"]["details"].values())
        back += records.rows_of(record)
    wanted = [row for row in SOME if records.has_direction(row)]
    assert len(wanted) > 20 and sorted(back, key=lambda r: r.id) == sorted(
        wanted, key=lambda r: r.id
    )


def test_a_metric_has_one_direction_or_none():
    names = dict.fromkeys(row.metric for row in ROWS)
    both = [n for n in names if records.LESS.fullmatch(n) and records.MORE.fullmatch(n)]
    assert not both
    for name in ("bits_per_dim", "bits_per_pixel", "calibration_error"):
        assert records.LESS.fullmatch(name)
    for name in ("psnr", "ssim", "f_half"):
        assert records.MORE.fullmatch(name)
    for name in ("coverage_90", "spread_skill", "components"):  # best at a value
        assert not records.LESS.fullmatch(name) and not records.MORE.fullmatch(name)


def test_crate_names_what_is_there(folder):
    crate = json.loads((folder / "ro-crate-metadata.json").read_text("utf-8"))
    entities = {entity["@id"]: entity for entity in crate["@graph"]}
    assert len(entities) == len(crate["@graph"])
    for entity in entities.values():
        if entity["@type"] == "File":
            assert (folder / entity["@id"]).is_file(), entity["@id"]
        for value in entity.values():
            for link in value if isinstance(value, list) else [value]:
                if isinstance(link, dict) and not link["@id"].startswith("https://w3id.org"):
                    assert link["@id"] in entities, link
    weights = entities[f"runs/{RUN}/weights.safetensors"]
    digest = run_folder.file_sha256(results.RESULTS / RUN / "weights.safetensors")
    assert weights["identifier"] == f"sha256:{digest}"
    assert "cnf train" in entities[f"#training-{RUN}"]["description"]


def test_the_crate_gives_each_file_its_terms_and_calls_no_weights_mit(folder):
    """DRIVE, from which this run learned, allows research and education."""
    crate = json.loads((folder / "ro-crate-metadata.json").read_text("utf-8"))
    entities = {entity["@id"]: entity for entity in crate["@graph"]}
    files = {name: e for name, e in entities.items() if e["@type"] == "File"}
    assert {"rows.csv", "claims.yml", "published.yml"} <= files.keys()
    of_weights = [f for name, f in files.items() if name.endswith(".safetensors")]
    assert len(of_weights) == 1
    for entity in files.values():
        is_free = entity["license"]["@id"] == records.LICENCE
        assert is_free == (entity not in of_weights), entity["@id"]
    said = entities[of_weights[0]["license"]["@id"]]["description"]
    assert said == " ".join(records.terms(folder / "runs" / RUN)) and "DRIVE" in said
    whole = entities[entities["./"]["license"]["@id"]]["description"]
    assert "MIT" in whole and "Weights were learned from data with terms" in whole
    parts = {part["@id"] for part in entities["./"]["hasPart"]}
    on_top = {path.name for path in folder.iterdir()} - {"ro-crate-metadata.json", "runs"}
    assert on_top <= {part.strip("/") for part in parts}


def test_weights_that_are_not_here_are_said_to_be_elsewhere(tmp_path):
    run = "vessels-flow-ar-cpu-s1"  # its rows have a hash, its folder no weights
    rows = [row for row in ROWS if row.run == run]
    assert rows and all(row.weights is None and row.weights_sha256 for row in rows)
    records.write(rows, tmp_path / "all", with_croissant=False)
    crate = json.loads((tmp_path / "all" / "ro-crate-metadata.json").read_text("utf-8"))
    entities = {entity["@id"]: entity for entity in crate["@graph"]}
    assert "weights of this run are not included" in entities[f"runs/{run}/"]["description"]
    assert "no file here has them" in entities["rows.csv"]["description"]


def test_codemeta_is_up_to_date():
    path = records.REPOSITORY / "codemeta.json"
    assert json.loads(path.read_text("utf-8")) == records.codemeta(), "make records writes it"


def test_rocrate_reads_the_crate(folder):
    crates = pytest.importorskip("rocrate.rocrate", reason=EXTRA.format("rocrate", "the crate"))
    crate = crates.ROCrate(folder)
    assert len(crate.get_by_type("CreateAction")) == 1
    assert crate.get("rows.csv").properties()["encodingFormat"] == "text/csv"


def test_croissant_gives_the_rows_back(folder):
    mlc = pytest.importorskip("mlcroissant", reason=EXTRA.format("mlcroissant", "croissant.json"))
    path = folder / "croissant.json"
    records.write_json(path, records.croissant(SOME, folder))
    dataset = mlc.Dataset(jsonld=path)
    content = json.loads(path.read_text("utf-8"))
    assert all(
        f"rai:{name}" in content for name in ("dataCollection", "dataBiases", "dataLimitations")
    )
    found = list(dataset.records("rows"))
    assert len(found) == len(SOME)
    kinds = {f["name"]: f["dataType"] for f in content["recordSet"][0]["field"]}
    assert (kinds["dirty"], kinds["samples"], kinds["value"]) == (
        "sc:Boolean",
        "sc:Integer",
        "sc:Float",
    )
    assert content["license"] == records.MIXED
    for line, row in zip(found, SOME, strict=True):
        assert line["rows/id"].decode() == row.id
        assert line["rows/value"] == pytest.approx(row.value, rel=1e-6)
        assert line["rows/dirty"] is row.dirty and line["rows/num_images"] == row.num_images
        assert pd.isna(line["rows/samples"]) == (row.samples is None)
