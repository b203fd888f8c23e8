"""Each page and its executed twin belong together, and the twin is fit to be published."""

import base64
import io
import re

import nbformat
import pytest
import yaml
from PIL import Image

from tools import notebooks

PAGES = notebooks.pages()
# Folders of one machine, addresses in memory: they differ elsewhere, so they prove nothing.
FOREIGN = re.compile(
    r"(?<![\w.:/])/(?:home|root|tmp|usr|work|Users|opt)/|0x[0-9a-f]{6,}|site-packages"
)
MB = 2**20


@pytest.fixture(params=PAGES, ids=lambda page: page.stem)
def page(request):
    return request.param


@pytest.fixture
def twin(page):
    return nbformat.read(notebooks.twin(page), as_version=4)


def code_cells(nb):
    return [cell for cell in nb.cells if cell.cell_type == "code" and cell.source.strip()]


def tags(cell):
    return set(cell.metadata.get("tags", []))


def text_of(outputs):
    """Everything a reader sees of outputs, apart from pictures."""
    for output in outputs:
        yield output.get("text", "")
        yield from (str(v) for k, v in output.get("data", {}).items() if not k.startswith("image/"))


def test_book_has_pages():
    assert PAGES


def test_table_of_contents_names_every_twin_once():
    toc = yaml.safe_load((notebooks.ROOT / "book/_toc.yml").read_text("utf-8"))
    named = re.findall(r"'file': '([^']+\.ipynb)'", str(toc))
    assert named == [notebooks.twin(page).name for page in PAGES]


def test_every_notebook_has_a_page():
    found = {path.stem for path in (notebooks.ROOT / "book").glob("*.ipynb")}
    assert found == {page.stem for page in PAGES}


def test_twin_was_made_from_what_is_here(page):
    assert not notebooks.is_stale(page), f"run: make notebooks PAGES={page.stem}"


def test_twin_has_the_cells_and_tags_of_its_page(page, twin):
    def cells(nb):
        return [(cell.id, cell.cell_type, cell.source, dict(cell.metadata)) for cell in nb.cells]

    assert cells(twin) == cells(notebooks.read(page))


def test_execution_counts_run_from_one_without_a_gap(twin):
    counts = [c.execution_count for c in code_cells(twin) if "skip-execution" not in tags(c)]
    assert counts == list(range(1, len(counts) + 1))


def test_cells_that_do_not_run_are_skipped_by_both_tools_and_show_nothing(twin):
    for cell in code_cells(twin):
        assert ("skip-execution" in tags(cell)) == ("nbval-skip" in tags(cell)), cell.source
        assert "skip-execution" not in tags(cell) or not cell.outputs, cell.source
        assert "nbval-ignore-output" not in tags(cell), "then nothing would compare this output"


def test_outputs_have_no_error_and_no_stderr(twin):
    for cell in code_cells(twin):
        for output in cell.outputs:
            assert output.output_type != "error", cell.source
            assert output.get("name") != "stderr", cell.source


def test_outputs_name_nothing_of_one_machine(twin):
    for cell in code_cells(twin):
        for text in text_of(cell.outputs):
            assert not FOREIGN.search(text), (
                f"{FOREIGN.search(text)} in the output of {cell.source}"
            )


def test_outputs_load_nothing_from_the_network(twin):
    for cell in code_cells(twin):
        for text in text_of(cell.outputs):
            assert not re.search(r"""(?:src|href)=["']?(?:https?:)?//""", text), cell.source


def test_every_figure_has_a_caption_and_a_text_for_those_who_do_not_see_it(twin):
    for cell in code_cells(twin):
        kinds = {kind for output in cell.outputs for kind in output.get("data", {})}
        assert "image/png" not in kinds, "a figure is an SVG after plotting.use_style()"
        if "image/svg+xml" in kinds:
            settings = cell.metadata.get("mystnb", {})
            assert settings.get("figure", {}).get("caption", "").strip(), cell.source
            assert settings.get("image", {}).get("alt", "").strip(), cell.source


def test_every_figure_has_a_drawing_for_phones(twin):
    for cell in code_cells(twin):
        for svg in (output.get("data", {}).get("image/svg+xml") for output in cell.outputs):
            name = cell.metadata.get("mystnb", {}).get("figure", {}).get("name")
            assert svg is None or 'class="phone"' in svg, name


def test_figures_hold_no_metadata(twin):
    for data in notebooks.figures(twin):
        for png in notebooks.EMBEDDED.findall(data["image/svg+xml"]):
            image = Image.open(io.BytesIO(base64.b64decode(png)))
            assert not image.info, f"{sorted(image.info)} changes with every library version"
        assert "<metadata" not in data["image/svg+xml"]


def test_no_metadata_of_a_time_or_a_version(twin):
    assert set(twin.metadata) == {"kernelspec", "language_info", "cnf"}
    assert "version" not in twin.metadata.language_info


def test_page_that_reads_results_says_which(page):
    code = "\n".join(cell.source for cell in code_cells(notebooks.read(page)))
    if "results" in code:
        assert notebooks.read(page).metadata.cnf.get("reads"), "add cnf: reads: to the front matter"


def test_twin_is_small(page):
    assert notebooks.twin(page).stat().st_size <= 1 * MB


def test_book_is_small():
    files = (p for p in (notebooks.ROOT / "book").rglob("*") if p.is_file())
    assert sum(p.stat().st_size for p in files if "_build" not in p.parts) <= 25 * MB
