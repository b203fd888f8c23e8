"""From a number to the command that gives it again."""

import functools
import itertools
import shlex
from pathlib import Path

import pytest
import yaml

from cnf.errors import ResultsError
from cnf.replication import audit, results, run_folder
from cnf.replication.cli import main
from cnf.replication.data import load
from cnf.replication.measures import MEASURES
from cnf.replication.results import how
from cnf.replication.results.rows import REFERENCES, RESULTS
from tests.results.rows import PICTURE, reference, row

ROWS = results.read_rows()


def test_every_committed_row_leads_to_a_command():
    for one in ROWS:
        found = dict(how.facts(one))
        assert found.keys() & {"command", "trained by"}, f"nothing gives {one.id} again"
        assert found.get("command") in (None, f"python -m cnf results audit {one.id}")
        assert found["scored by"].startswith("python -m cnf evaluate ") and found["expect"]


def test_every_committed_training_has_a_command_that_names_the_options_of_its_record():
    trained = {(r.trained, r.config_sha256): r for r in ROWS if r.model not in REFERENCES}
    assert len(trained) >= 15
    for one in trained.values():
        record = run_folder.read_record(RESULTS / one.trained)
        assert record["config_sha256"] == one.config_sha256, one.run
        words = shlex.split(how.training(one)[-1])
        asked = dict(zip(words, words[1:], strict=False))
        changes = [words[i + 1] for i, word in enumerate(words) if word == "--set"]
        for key, _, text in (change.partition("=") for change in changes):
            *parents, name = key.split(".")
            options = functools.reduce(dict.__getitem__, parents, record["config"])
            if "version" in record and name not in options:
                continue  # of version 0.2, see `releases.OF_VERSION_02`
            assert options[name] == yaml.safe_load(text), (one.run, key)
        assert (int(asked["--steps"]), int(asked["--seed"])) == (one.steps, one.seed)
    one = next(r for r in ROWS if r.run == "sr-baseline-muon-photos-s0")
    (first, then) = how.training(one)
    assert "--preset cpu" in first and " --start results/sr-baseline-muon-s0 " in then
    (branch,) = how.training(next(r for r in ROWS if r.run == "sr-flow-wide-90min-s0"))
    assert branch.endswith("--steps 18000 --seed 0 --out runs/sr-flow-wide-90min-s0")
    before, turned = how.training(next(r for r in ROWS if r.run == "sr-flow-ar-cpu-s0"))
    assert "training.lr" not in before and "training.lr=0.0025" in turned
    assert " --steps 5000 --seed 0 --start runs/sr-ar128-lr4/step-2000.pt " in turned


def test_a_command_leaves_what_the_next_one_needs():
    for name in ("sr-flow-large-1250-s0", "sr-flow-ar-cpu-s0", "sr-flow-ar-photos-s0"):
        told = how.training(next(r for r in ROWS if r.run == name))
        for before, after in itertools.pairwise(map(shlex.split, told)):
            start = Path(after[after.index("--start") + 1])
            if start.parts[0] == "results":  # its weights are in the repository
                continue
            out = before[before.index("--out") + 1]
            if start.suffix == ".pt":
                steps = int(before[before.index("--steps") + 1])
                (kept,) = (word for word in before if word.startswith("training.keep="))
                shares = yaml.safe_load(kept.partition("=")[2])
                assert start.name in {f"step-{round(share * steps)}.pt" for share in shares}
                start = start.parent
            assert out == f"runs/{start.name}"
        assert told[-1].endswith(f" --out runs/{name}")


def test_sets_that_come_with_the_package_need_nothing_and_others_say_where_they_belong():
    for name in {one.data for one in ROWS}:
        found = how.needs(row(data=name))
        if found is None:
            load(name, "test")  # raises if it is not here
        else:
            assert found.startswith("$CNF_DATA/") and "{" not in found
    assert how.needs(row(data="odd-drive-blur")).startswith("$CNF_DATA/drive: register")
    joined = how.needs(row(data="embedded-sr+set5+folder:mine"))
    assert joined.startswith("$CNF_DATA/set5: ")
    assert joined.endswith("; the pictures of folder:mine")


def test_a_row_is_found_by_its_id_and_by_its_value():
    rows = [row(), row(rounded_x=True, value=2.4), row(data="set5", value=2.4004)]
    assert results.find_rows(rows[2].id, rows) == [rows[2]]
    assert results.find_rows("2.400", rows) == rows[1:]
    assert results.find_rows(results.value(rows[1]), rows) == rows[1:]  # as a table has it
    with pytest.raises(ResultsError, match="set5-tost/bits_per_dim'; the nearest are .*set5-test"):
        results.find_rows("sr-flow-cpu/set5-tost/bits_per_dim", rows)
    with pytest.raises(ResultsError, match="as, '9.505': `python"):
        results.find_rows("9.505", rows)


def test_a_row_without_weights_is_trained_first_and_a_reference_needs_none(tmp_path):
    lost = row()
    assert how.training(lost, tmp_path) == []
    told = dict(how.facts(lost))
    assert told["weights"].startswith("not in the repository") and "command" not in told
    bicubic = reference("bicubic", **PICTURE, value=33.68)
    told = dict(how.facts(bicubic))
    assert told["command"] == f"python -m cnf results audit {bicubic.id}"
    assert "trained by" not in told and told["expect"] == "33.680000, within 0.01"


def test_every_run_with_whose_weights_a_run_began_is_told():
    bsd, photos = (
        how.training(next(r for r in ROWS if r.run == f"sr-flow-ar-{name}-s0"))
        for name in ("bsd", "photos")
    )
    assert (len(bsd), len(photos)) == (4, 5)
    assert photos[:4] == bsd and bsd[3].endswith(" --out runs/sr-flow-ar-bsd-s0")
    assert " --start runs/sr-flow-ar-bsd-s0 " in photos[4]


def test_of_rows_printed_alike_the_one_that_is_shown_elsewhere_comes_first(tmp_path):
    rows = [row(run=f"run-{n}") for n in range(3)]
    first, second, third = (r.id for r in rows)
    told = how.text(rows, tmp_path, first={second, "another"})
    assert told.startswith(f"{second}\n") and "2 more rows are printed so" in told
    assert told.index(first) < told.index(third) and "scored by" in told
    for shown in ((), {second, third}):  # none, or no single one
        told = how.text(rows, tmp_path, first=shown).splitlines()
        assert told[0] == "3 rows are printed so; ask for one by its id:" and len(told) == 4
        assert told[1].startswith(second if shown else first)


def test_the_command_line_tells_it(capsys):
    (ours,) = results.find_rows("bicubic/set5-test-x8/psnr-standard", ROWS)
    assert main(["results", "how", ours.id]) == 0
    told = capsys.readouterr().out
    for part in (f"results audit {ours.id}", "within 0.01", "$CNF_DATA/set5", ours.command):
        assert part in told
    assert main(["results", "how", MEASURES["psnr"].write(ours.value)]) == 0
    assert ours.id in capsys.readouterr().out


def test_an_audit_begins_with_pictures_that_are_here_and_few_samples():
    many, few = (row(**PICTURE | {"data": "embedded-sr", "samples": n}) for n in (64, 1))
    other = row(**PICTURE | {"data": "set5", "samples": 1})
    assert [one for _, (one,) in audit._passes([other, many, few])] == [few, many, other]
