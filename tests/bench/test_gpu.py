"""`make gpu` goes through training, scoring and publishing in slices, and does nothing twice."""

from pathlib import Path

import pytest

from cnf.errors import CheckpointError
from cnf.replication import results, run_folder
from cnf.replication.run_folder import publishing
from tools import gpu


@pytest.fixture
def call(tmp_path, monkeypatch, capsys):
    """Runs the command on the two tiny models for vessels and returns its code and its output."""
    monkeypatch.setattr(gpu, "SMOKE", ["vessels-flow-smoke", "vessels-baseline-smoke"])
    words = ["--preset", "smoke", "--device", "cpu", "--folder", str(tmp_path)]

    def run(*more):
        code = gpu.main([*words, "--steps", "3", "--limit", "1", *more])
        return code, capsys.readouterr().out

    return run


@pytest.mark.slow("the command of the GPU runs, on a CPU with tiny models")
def test_slices_go_on_and_nothing_is_done_twice(call, tmp_path):
    code, said = call("--plan")
    assert code == 0 and "GFLOP a picture" in said and not list(tmp_path.iterdir())
    code, said = call("--minutes", "1e-4")
    assert code == 0 and "the first vessels-flow-smoke-s0" in said  # begun, and that is all
    assert (tmp_path / "runs/vessels-flow-smoke-s0/last.pt").exists()
    code, said = call()
    assert code == 0 and "step 0 of 3" in said and "done" in said
    for name in ("vessels-flow-smoke-s0", "vessels-baseline-smoke-s0"):
        run = tmp_path / "runs" / name
        assert run_folder.read_record(run)["took"]
        assert run_folder.read_history(run) and (run / "weights.safetensors").exists()
        rows = results.read_rows(tmp_path / "results", name)
        assert {"bits_per_pixel", "f_half"} <= {row.metric for row in rows}
        assert (tmp_path / "results" / name / "weights.safetensors").exists()
    before = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*")}
    assert call() == (0, "done: every run is trained, scored and published\n")
    assert {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*")} == before


def test_order_and_sets():
    names = [job.name for job in gpu.jobs(gpu.Options())]
    assert names[0] == "sr-flow-gpu-s0" and names[-1] == "sr-baseline-paper-s0"
    assert len(names) == len(set(names)) == 3 * 4 + 4
    presets = {path.stem for path in Path("cnf/replication/presets").glob("*-*-[gp]*.yml")}
    assert {*gpu.GPU, *gpu.PAPER} == {p for p in presets if not p.endswith("photos")}


def test_large_weights_stay_where_they_are(tmp_path, monkeypatch):
    """The rows of a model that is too large for the repository go there with its record."""
    options = gpu.Options(preset="smoke", folder=tmp_path)
    job = gpu.Job("vessels-flow-smoke", 0, options)
    run = tmp_path / "runs" / job.name
    run.mkdir(parents=True)
    (run / "weights.safetensors").write_bytes(bytes(100))
    run_folder.write_record(run, {"took": {"seconds": 1.0}, "config": {}})
    asked = {}
    monkeypatch.setattr(publishing, "MAX_BYTES", 50)
    monkeypatch.setattr(gpu, "evaluate", lambda *_, **words: asked.update(words))
    job.score("embedded-vessels")
    assert not asked["publish"] and asked["out"] == tmp_path / "results"
    assert (tmp_path / "results" / job.name / "config.json").exists()
    (run / "weights.safetensors").unlink()
    with pytest.raises(CheckpointError, match="copy its runs/vessels-flow-smoke-s0 here"):
        job.score("embedded-vessels")
