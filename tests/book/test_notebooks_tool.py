"""The page pipeline itself: what makes a twin stale, what it refuses, what it leaves alone."""

import io
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import nbformat
import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from tools import notebooks

FRONT_MATTER = """---
jupytext:
  text_representation:
    extension: .md
    format_name: myst
kernelspec:
  display_name: Python 3
  language: python
  name: python3
cnf:
  reads: [results/*.jsonl]
---
"""


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """An empty repository with a package of one file and a file of results."""
    for name, text in {
        "cnf/__init__.py": "",
        "cnf/a.py": "x = 1\n",
        "results/rows.jsonl": '{"value": 1}\n',
        "_config.yml": 'title: A book\nrepository:\n  url: ""  # none yet\n  branch: main\n',
        "pyproject.toml": '[project]\nname = "cnf"\n\n[project.urls]\n\n[tool]\n',
    }.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (tmp_path / "book").mkdir()
    monkeypatch.setattr(notebooks, "ROOT", tmp_path)
    return tmp_path


def write(repository, *cells, name="01-page"):
    blocks = (f"```{{code-cell}} ipython3\n{cell}\n```\n" for cell in cells)
    page = repository / "book" / f"{name}.md"
    page.write_text(FRONT_MATTER + "\n# A page\n\n" + "\n".join(blocks))
    return page


def png(pixels, **info):
    text = PngImagePlugin.PngInfo()
    for key, value in info.items():
        text.add_text(key, value)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", pnginfo=text)
    return file.getvalue()


def test_executing_twice_writes_the_same_bytes(repository):
    page = write(repository, "print('a')", "1 + 1", "1 + 1")
    assert notebooks.execute(page)[0].startswith("rewrote")
    first = notebooks.twin(page).read_bytes()
    assert notebooks.execute(page)[0].startswith("unchanged")
    assert notebooks.twin(page).read_bytes() == first


def test_kernel_runs_beside_the_page_without_benchmark_data_on_one_thread(repository, monkeypatch):
    monkeypatch.setenv("CNF_DATA", "somewhere")
    names = "('CNF_DATA', 'OMP_NUM_THREADS', 'PYTHONHASHSEED')"
    page = write(
        repository, f"import os\nprint(os.path.exists('01-page.md'), *map(os.environ.get, {names}))"
    )
    notebooks.execute(page)
    nb = nbformat.read(notebooks.twin(page), as_version=4)
    assert nb.cells[1].outputs[0].text == "True None 1 0\n"


def test_change_in_a_source_makes_the_twin_stale(repository):
    page = write(repository, "import cnf.a")
    assert notebooks.is_stale(page), "a page without a twin"
    notebooks.execute(page)
    for name in ("cnf/a.py", "results/rows.jsonl", "book/01-page.md"):
        assert not notebooks.is_stale(page)
        text = (repository / name).read_text()
        (repository / name).write_text(text + "y = 2\n")
        assert notebooks.is_stale(page), name
        (repository / name).write_text(text)


def test_only_loaded_modules_count_and_of_them_no_comments_and_line_ends(repository):
    page = write(repository, "import cnf.a")
    other = repository / "cnf" / "b.py"
    other.write_text("")
    notebooks.execute(page)
    kept = nbformat.read(notebooks.twin(page), as_version=4).metadata.cnf
    assert kept.modules == ["cnf/a.py"]  # not the list of exports
    other.write_text("x = 2\n")
    (repository / "cnf/a.py").write_text("# why\n\nx = 1  # what\n")
    page.write_bytes(page.read_bytes().replace(b"\n", b"\r\n"))
    assert not notebooks.is_stale(page)
    (repository / "cnf/a.py").unlink()
    assert notebooks.is_stale(page), "a module that is gone"


@pytest.fixture(scope="module")
def executed(tmp_path_factory):
    """A copy of the repository with one page, which reads a file, executed."""
    root, copy = notebooks.ROOT, tmp_path_factory.mktemp("copy")
    shutil.copytree(root / "cnf", copy / "cnf", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("_config.yml", "results/claims.yml"):
        (copy / name).parent.mkdir(exist_ok=True)
        shutil.copy(root / name, copy / name)
    (copy / "book").mkdir()
    lines = ["import cnf.replication.plotting as p", "from cnf.layers import AffineCoupling"]
    lines += ["from cnf.replication.measures import MEASURES", "MEASURES['psnr'].unit"]
    page = write(copy, *lines, "assert 'copy' in p.__file__, p.__file__")
    page.write_text(page.read_text().replace("results/*.jsonl", "results/claims.yml"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(notebooks, "ROOT", copy)
        notebooks.execute(page)
    return page, copy


@pytest.fixture
def copied(executed, monkeypatch):
    monkeypatch.setattr(notebooks, "ROOT", executed[1])
    return executed


@pytest.mark.parametrize(
    ("name", "added", "stale"),
    [
        ("cnf/replication/answers/sample.py", "# a comment", False),
        ("cnf/replication/answers/sample.py", "x = 1", False),
        ("cnf/layers/coupling.py", "# a comment", False),
        ("cnf/layers/coupling.py", "x = 1", True),
        ("cnf/replication/plotting.py", "x = 1", True),
        ("results/claims.yml", "# a comment", True),
    ],
)
def test_a_page_is_stale_only_if_something_it_uses_changed(copied, name, added, stale):
    page, copy = copied
    text = (copy / name).read_text()
    (copy / name).write_text(f"{text}{added}\n")
    assert notebooks.is_stale(page) == stale
    (copy / name).write_text(text)
    assert not notebooks.is_stale(page)


@pytest.mark.parametrize(("name", "stale"), [("new", False), ("ssim", False), ("psnr", True)])
def test_a_declaration_makes_those_pages_stale_that_name_the_measure(
    copied, monkeypatch, name, stale
):
    page, _ = copied
    changed = replace(notebooks.MEASURES["psnr"], name=name, title="another title")
    monkeypatch.setitem(notebooks.MEASURES, name, changed)
    assert notebooks.is_stale(page) == stale


def test_check_names_the_stale_pages_and_the_line_to_run(repository, capsys):
    for name in ("01-a", "02-b"):
        write(repository, "1", name=name)
    assert notebooks.check() == 2
    assert "run: make notebooks PAGES='01-a 02-b'" in capsys.readouterr().err


def test_a_page_keeps_the_versions_of_packages_it_loaded_and_others_are_named(
    repository, capsys, monkeypatch
):
    page = write(repository, "import numpy")
    notebooks.execute(page)
    kept = notebooks.read_twin(page).metadata.cnf.versions
    assert kept == {"numpy": ".".join(np.__version__.split(".")[:2])}
    assert notebooks.check_versions() == 0
    monkeypatch.setattr(notebooks.metadata, "version", lambda name: "99.1.2")
    assert notebooks.check_versions() == 1 and not notebooks.is_stale(page)
    said = capsys.readouterr().err
    assert f"01-page.ipynb was made by numpy {kept['numpy']}\n" in said
    assert "run: make notebooks PAGES='01-page'" in said


def test_stale_pages_come_first(repository):
    pages = [write(repository, "1", name=name) for name in ("01-a", "02-b")]
    notebooks.execute(pages[0])
    assert notebooks.select([]) == [pages[1], pages[0]]


@pytest.mark.parametrize(
    ("cell", "said"),
    [
        ("1 / 0", "ZeroDivisionError"),
        ("import warnings\nwarnings.warn('careful')", "careful"),
    ],
)
def test_page_that_fails_or_warns_gets_no_twin(repository, cell, said):
    page = write(repository, cell)
    with pytest.raises(notebooks.PageError, match=said):
        notebooks.execute(page)
    assert not notebooks.twin(page).exists()


def test_unknown_page_and_unknown_file_are_named(repository):
    page = write(repository, "1")
    with pytest.raises(notebooks.PageError, match="no page is named '03-x'; there are: 01-page"):
        notebooks.select(["03-x"])
    (repository / "results/rows.jsonl").unlink()
    with pytest.raises(notebooks.PageError, match=r"01-page.md: .*'results/\*.jsonl'"):
        notebooks.sources(page, ())


def test_figure_keeps_its_bytes_until_a_pixel_changes():
    pixels = np.zeros((4, 4, 3), np.uint8)

    def notebook(data):
        nb = nbformat.v4.new_notebook()
        text = notebooks.base64.b64encode(data).decode()
        bundle = {"image/svg+xml": f'<svg><image href="data:image/png;base64,{text}"/></svg>'}
        nb.cells = [
            nbformat.v4.new_code_cell(outputs=[nbformat.v4.new_output("display_data", bundle)])
        ]
        return nb

    old, same = notebook(png(pixels, Software="1")), notebook(png(pixels, Software="2"))
    notebooks.clean_figures(same, old)
    assert notebooks.figures(same) == notebooks.figures(old)

    pixels[0, 0] = 1
    other = notebook(png(pixels, Software="3"))
    notebooks.clean_figures(other, old)
    (data,) = notebooks.EMBEDDED.findall(notebooks.figures(other)[0]["image/svg+xml"])
    image = Image.open(io.BytesIO(notebooks.base64.b64decode(data)))
    assert not image.info
    np.testing.assert_array_equal(np.asarray(image), pixels)


def test_address_adds_a_first_cell_that_is_no_part_of_the_page(repository):
    page = write(repository, "1 + 1")
    notebooks.execute(page)
    before = notebooks.twin(page).read_bytes()

    notebooks.set_address("https://github.com/someone/flows.git")
    assert "# none yet" in (repository / "_config.yml").read_text()
    metadata = repository / "pyproject.toml"
    assert '\n[project.urls]\nRepository = "https://github.com/someone/flows"\n\n[tool]' in (
        metadata.read_text()
    )
    assert notebooks.address() == "https://github.com/someone/flows"
    first, *rest = nbformat.read(notebooks.twin(page), as_version=4).cells
    assert '"https://github.com/someone/flows", "flows"' in first.source
    assert {"remove-cell", "skip-execution", "nbval-skip"} == set(first.metadata.tags)
    assert [cell.get("execution_count") for cell in rest] == [None, 1]
    assert notebooks.check() == 0
    assert notebooks.execute(page)[0].startswith("unchanged")

    notebooks.set_address("")
    assert notebooks.twin(page).read_bytes() == before
    assert "[project.urls]\n\n[tool]" in metadata.read_text()


@pytest.mark.parametrize(
    "url", ["github.com/a/b", "https://gitlab.com/a/b", "https://github.com/a"]
)
def test_address_that_colab_cannot_open_is_refused(repository, url):
    with pytest.raises(notebooks.PageError, match="is not https://github.com/OWNER/NAME"):
        notebooks.set_address(url)
    assert notebooks.address() == ""


@pytest.mark.slow("the first cell of a page that Colab opens, in an environment of its own")
@pytest.mark.skipif(
    int(version("setuptools").split(".")[0]) < 77,
    reason="building the package without the network needs setuptools 77: first cell NOT run",
)
def test_first_cell_fetches_and_installs_and_then_the_page_runs(tmp_path):
    """In an interpreter without the package, its libraries apart, and without the network."""
    origin = Path(__file__).resolve().parents[2]
    if not (origin / ".git").exists():
        pytest.skip("no clone of the repository: its first cell was NOT run")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "env"], check=True)
    (cell,) = notebooks.launch_cells("https://github.com/someone/flows")
    source = cell.source.replace("https://github.com/someone/flows", origin.as_uri())
    script = tmp_path / "cell.py"
    script.write_text(
        f"{source}\n{source}\n"  # twice, as after a restart of the kernel
        "from pathlib import Path\n"
        "from cnf.replication import results\n"
        "rows = results.read_rows(Path('../results'))\n"
        "print(Path(results.__file__).parents[3].name, len(rows) > 0)\n"
        "print(Path('why-likelihoods.ipynb').exists(), Path('flows').exists())\n"
    )
    # libraries through PYTHONPATH: there an editable install, as ours may be, does not count
    libraries = [path for path in sys.path if path.endswith("site-packages")]
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(libraries),
        "PIP_NO_INDEX": "1",
        "PIP_NO_DEPS": "1",
        "PIP_NO_BUILD_ISOLATION": "0",  # sic: it sets build isolation, to 0
        "PIP_NO_CACHE_DIR": "1",
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    }
    command = [tmp_path / "env/bin/python", "-P", script]
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["flows True", "True False"]
