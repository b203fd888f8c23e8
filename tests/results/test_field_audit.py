"""The audit of other libraries: what is said of each flag, and that findings stay short."""

import json

import pytest

from experiments.field_audit import audit as field_audit

NAMES = sorted(path.stem for path in (field_audit.FOLDER / "found").glob("*.json"))
FINDINGS = sorted((field_audit.FOLDER / "findings").glob("*.py"))


@pytest.mark.parametrize("name", NAMES)
def test_every_flag_is_explained_and_every_explanation_is_of_a_flag(name):
    flags = field_audit.triage(name)["flags"]
    assert not flags["unexplained"]
    table = json.loads((field_audit.FOLDER / "explained.json").read_text("utf-8")).get(name, {})
    said = {what for kind in table.values() for what in kind}
    assert {what for kind in flags.values() for _, what in kind} == said


def test_findings_are_at_most_twelve_lines_and_each_explains_a_flag():
    explained = json.loads((field_audit.FOLDER / "explained.json").read_text("utf-8"))
    named = {finding for table in explained.values() for finding in table["findings"]}
    assert named == {path.stem for path in FINDINGS} and len(FINDINGS) >= 30
    for path in FINDINGS:
        lines = path.read_text("utf-8").splitlines()
        assert len(lines) <= 12, path.stem
        assert "Cause: " in lines[1] and "Matters: " in lines[1], path.stem


def test_every_library_has_the_version_that_is_pinned():
    pins = (field_audit.FOLDER / "requirements.txt").read_text("utf-8")
    for name in set(NAMES) - {"cnf"}:
        found = json.loads((field_audit.FOLDER / "found" / f"{name}.json").read_text("utf-8"))
        assert f"{found['library']}=={found['version'].split('+')[0]}\n" in pins


def test_reports_show_findings_as_they_are():
    code = {path.read_text("utf-8").partition('"""\n')[2].strip() for path in FINDINGS}
    for path in (field_audit.FOLDER / "reports").glob("*.md"):
        blocks = path.read_text("utf-8").split("```python\n")[1:]
        assert blocks and all(block.partition("\n```")[0] in code for block in blocks), path.stem
