import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image


@pytest.fixture
def benchmark_root() -> Path:
    """The folder of real image sets, or a skip that says what was not checked."""
    if not os.environ.get("CNF_DATA"):
        pytest.skip("CNF_DATA is not set: nothing was checked on real benchmark pictures")
    return Path(os.environ["CNF_DATA"])


@pytest.fixture
def no_sets(tmp_path, monkeypatch) -> Path:
    """An empty folder as CNF_DATA."""
    monkeypatch.setenv("CNF_DATA", str(tmp_path / "sets"))
    return tmp_path / "sets"


@pytest.fixture
def write():
    """Write an array as a picture, making its folders: write(path, pixels, mode=None)."""

    def _write(path: Path, pixels: np.ndarray, mode: str | None = None) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        image = Image.fromarray(pixels)
        (image if mode is None else image.convert(mode)).save(path)
        return path

    return _write


@pytest.fixture
def picture():
    """Random RGB pixels: picture(height, width, seed=0) -> uint8 (height,width,3)."""

    def _picture(height: int, width: int, seed: int = 0) -> np.ndarray:
        return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)

    return _picture
