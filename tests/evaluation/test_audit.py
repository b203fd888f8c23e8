"""What the audit does when there is no time for all rows."""

import itertools

import pytest

from cnf.replication import audit, evaluate


@pytest.fixture
def rows(make_run, tmp_path):
    options = {"limit": 3, "samples": 3, "importance": 2, "publish": True}
    run = make_run("sr-flow")
    return evaluate.evaluate(run, "embedded-sr", results=tmp_path / "results", **options)


def test_without_time_nothing_is_checked_and_that_is_said(rows, tmp_path):
    checks = audit.audit(results=tmp_path / "results", minutes=0)
    assert {(check.status, check.reason) for check in checks} == {("not checked", audit.LATE)}
    text = audit.report(checks)
    ours = sum(row.run == "sr-flow" for row in rows)
    assert f"sr-flow embedded-sr test: {ours} not checked" in text
    assert f"{ours} {audit.LATE}" in text
    assert f"{len(rows)} rows were left out for time" in text


def test_rows_that_are_named_are_checked_whatever_the_time(rows, tmp_path):
    checks = audit.audit(results=tmp_path / "results", only=[rows[0].id], minutes=0)
    assert [check.status for check in checks] == ["same"]
    assert rows[0].id in audit.report(checks, named=True)


def test_cheap_passes_come_first_and_the_rest_is_left_out(rows, tmp_path, monkeypatch):
    clock = itertools.count(0, 20)  # a look at the clock takes 20 seconds, so a pass 20
    monkeypatch.setattr(audit.time, "process_time", lambda: next(clock))
    checks = {c.row.id: c for c in audit.audit(results=tmp_path / "results", minutes=1.5)}
    assert [check.row.id for check in checks.values()] == [row.id for row in rows]  # as asked
    late = {i for i, check in checks.items() if check.reason == audit.LATE}
    cost = {row.id: audit.times(row) for row in rows}
    done = checks.keys() - late
    assert late and {checks[i].status for i in done} == {"same"}
    assert max(cost[i] for i in done) <= min(cost[i] for i in late)
    mean = {row.id for row in rows if row.metric in ("psnr", "ssim") and row.weights}
    assert mean <= late or mean <= done  # of one pass


def test_embedded_pictures_come_before_cheaper_ones(rows):
    embedded, other = rows[0], rows[0].__class__(**{**vars(rows[0]), "data": "set5"})
    passes = [audit.Pass([other], 1.0), audit.Pass([embedded], 9.0), audit.Pass([embedded], 2.0)]
    assert [p.cost for p in sorted(passes, key=lambda p: p.order)] == [2.0, 9.0, 1.0]
