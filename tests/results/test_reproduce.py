"""From a number to the command that gives it again."""

import shlex

import pytest

from cnf.config import config_sha256, load_config
from cnf.errors import DataError, LedgerError
from cnf.replication import audit, reproduce
from cnf.replication import results as ledger
from cnf.replication.cli import main
from cnf.replication.data import load
from tests.results.rows import GOOD

ROWS = ledger.current(ledger.read())
EXACT = {"model": "bicubic", "weights_sha256": None, "config_sha256": None, "steps": None}
EXACT |= {"metric": "psnr", "unit": "dB", "bound": None, "divided_by": None, "seed": None}
EXACT |= {"wall_s": None, "hardware": None, "preset": None, "value": 33.68}


def row(**changes):
    return ledger.make_row(GOOD | changes)


def test_every_row_of_the_ledger_leads_to_a_command_and_its_cost():
    for found in (reproduce.how(row) for row in ROWS):
        assert (found.audit is None) == (found.seconds is None), found.row.id
        assert found.audit or found.train, f"nothing gives {found.row.id} again"
        assert found.seconds is None or 0 < found.seconds < 3 * 3600, found.row.id
        assert found.evaluate.startswith("python -m cnf evaluate ")
        assert f"{found.row.value:.2g}" and found.expect


def test_every_training_of_the_ledger_has_a_command_that_gives_its_configuration():
    trained = {(r.run, r.config_sha256): r for r in ROWS if r.model not in ledger.REFERENCES}
    assert len(trained) >= 15
    for row in trained.values():
        words = shlex.split(reproduce.training(row)[-1])
        asked = dict(zip(words, words[1:], strict=False))
        changes = [words[i + 1] for i, word in enumerate(words) if word == "--set"]
        changes += [f"training.steps={asked['--steps']}", "training.minutes=null"]
        config = load_config(row.experiment, asked["--model"], asked["--preset"], changes)
        assert config_sha256(config) == row.config_sha256, row.run
        assert (int(asked["--steps"]), int(asked["--seed"])) == (row.steps, row.seed)


def test_costs_are_told_without_the_sets_and_agree_with_them():
    """Passes over pictures that are here cost what they are said to."""
    cache, checked = {}, set()
    for row in ROWS:
        if row.data in checked or row.num_images > 200 or reproduce.needs(row):
            continue
        subject, _ = audit._subject(row, None, ledger.REPOSITORY, cache)
        each = audit._entries(row, subject) / row.num_images
        told = reproduce.seconds(row) * audit.SPEED / row.num_images / audit.times(row)
        assert told == pytest.approx(each), row.data
        checked.add(row.data)
    assert {"embedded-sr", "embedded-vessels", "far-sr", "odd-noise", "odd-eye-blur"} <= checked


def test_sets_that_come_with_the_package_need_nothing_and_others_say_where_they_belong():
    for name in {row.data for row in ROWS}:
        found = reproduce.needs(row(data=name))
        if found is not None:
            folder = found.split(":")[0]
            assert folder.startswith("$CNF_DATA/") and "{" not in found
            continue
        try:
            if not name.startswith("far-"):
                load(name, "test")
        except DataError as error:
            pytest.fail(f"{name} is said to be here, but {error}")
    assert reproduce.needs(row(data="odd-drive-blur")).startswith("$CNF_DATA/drive: register")


def test_a_row_is_found_by_its_id_by_its_value_and_by_an_id_it_superseded():
    old, new = row(id="old"), row(id="new", supersedes="old", value=2.4)
    other = row(id="other", value=2.4004)
    rows = [old, new, other]
    assert reproduce.find("other", rows) == [other]
    assert reproduce.find("old", rows) == [new]
    assert reproduce.find("2.400", rows) == [new, other]
    with pytest.raises(LedgerError, match="as, 'othre'; the nearest are other: `python -m cnf"):
        reproduce.find("othre", rows)
    with pytest.raises(LedgerError, match="as, '2.505': `python"):
        reproduce.find("2.505", rows)  # superseded: printed nowhere any more


def test_a_row_without_weights_is_trained_first_and_a_reference_needs_none(tmp_path):
    lost = row(config_sha256="0" * 64)
    assert reproduce.training(lost, tmp_path) is None and reproduce.how(lost).audit is None
    bicubic = reproduce.how(row(id="b", **EXACT))
    assert bicubic.train is None and bicubic.audit == "python -m cnf results audit b"
    assert bicubic.expect == "33.680000, within 0.01"


def test_the_command_line_tells_it(capsys):
    (ours,) = [r for r in ROWS if r.id == "bicubic-set5-test-psnr-standard"]
    assert main(["results", "how", ours.id]) == 0
    told = capsys.readouterr().out
    for part in (f"results audit {ours.id}", "within 0.01", "$CNF_DATA/set5", "of one core"):
        assert part in told
    assert main(["results", "how", ledger.METRICS["psnr"].write(ours.value)]) == 0
    assert ours.id in capsys.readouterr().out
