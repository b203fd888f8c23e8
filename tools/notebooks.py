"""Execute the book's pages: each name.md (what people edit) has a twin name.ipynb.

    python tools/notebooks.py run [PAGE ...]   execute these pages (default: all, stale ones first)
    python tools/notebooks.py run --times      the same, and keep how long each took
    python tools/notebooks.py check            refuse stale twins, naming the line to run
    python tools/notebooks.py check --versions the same of twins made by other versions of packages
    python tools/notebooks.py address [URL]    where the repository is, for the twins' first cells

The twin keeps in its metadata the modules that its kernel had loaded in the end, and a
digest of everything its outputs come from: the page, those modules (comments and blank lines do not
count), and the files that the page's front matter names under `cnf: reads:` (globs from the root of
the repository). Of the tables of measures only those count that the page or these files name.
A twin whose digest differs is stale. It keeps as well the versions (2.13, not 2.13.1) of `PACKAGES`
that its kernel had loaded: under others its numbers may move. Executing an unchanged page writes
the same bytes: cell ids come from the cells' content, nothing holds a time, and a figure keeps its
old bytes unless its pixels change. How long pages took is kept apart, in `results/pages.json`,
which no page reads: the site shows it.

Once `_config.yml` has the repository's address, every twin begins with a cell that fetches the
repository where the package is missing (on Colab), and does nothing elsewhere. It is no part of the
page: it is not shown, not executed and not in the digest, so a new address makes nothing stale.
"""

import argparse
import base64
import functools
import hashlib
import io
import json
import os
import re
import sys
import time
import tokenize
from collections.abc import Iterable, Mapping
from concurrent.futures import ProcessPoolExecutor
from importlib import metadata
from pathlib import Path

import jupytext
import nbformat
import yaml
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from nbformat import NotebookNode
from PIL import Image

from cnf.replication import run_folder
from cnf.replication.measures import MEASURES

ROOT = Path(__file__).resolve().parents[1]
CELL_TIMEOUT = 600  # seconds, the same as nbval's in the Makefile
KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}
LANGUAGE = {"name": "python", "file_extension": ".py", "pygments_lexer": "ipython3"}
EMBEDDED = re.compile(r'(?<=data:image/png;base64,)[^"]+')
TIMES = "results/pages.json"
TABLE = "cnf/replication/measures.py"  # its table is no part of it, see `declarations`
LISTS = "cnf/__init__.py", "cnf/layers/__init__.py"  # of names: a new one changes no output
PACKAGES = {  # by what is imported, as the index calls them
    "torch": "torch",
    "torchvision": "torchvision",
    "numpy": "numpy",
    "scipy": "scipy",
    "matplotlib": "matplotlib",
    "skimage": "scikit-image",
    "sklearn": "scikit-learn",
    "PIL": "pillow",
}
PAGE_BUDGET, BOOK_BUDGET = 90, 480  # seconds, the book on two cores
LAUNCH = """\
# On Colab: fetch the repository and install its package. Elsewhere this does nothing.
import importlib.util, os, subprocess, sys

if importlib.util.find_spec("cnf") is None:
    if not os.path.isdir("{name}"):
        clone = ["git", "clone", "--quiet", "--depth", "1", "{url}", "{name}"]
        subprocess.run(clone, check=True)
    install = [sys.executable, "-m", "pip", "install", "--quiet"]
    install += ["--editable", "{name}[replication]"]
    subprocess.run(install, check=True)
    sys.path.insert(0, os.path.abspath("{name}"))  # an editable install is for the next start
if os.path.isdir("{name}/book"):
    os.chdir("{name}/book")"""


# The last cell of every page while it runs: the files of what its kernel has loaded, each on a line
# of its own, as nbclient takes half a minute for one of all.
LOADED = """\
import sys
print(*{m.__file__ for m in [*sys.modules.values()] if getattr(m, "__file__", None)}, sep="\\n")
"""


class PageError(ValueError):
    """A page that cannot be executed as it stands; the message says what to change."""


def in_order(pages: Iterable[Path]) -> list[Path]:
    """Pages of one book in the order of its `_toc.yml`; what that does not name comes last."""
    ordered = sorted(pages)
    toc = ordered[0].parent / "_toc.yml" if ordered else Path()
    toc_names = re.findall(r"file: ([\w-]+)", toc.read_text("utf-8")) if toc.is_file() else []
    return sorted(
        ordered, key=lambda p: toc_names.index(p.stem) if p.stem in toc_names else len(toc_names)
    )


def pages() -> list[Path]:
    """The executable pages of the book, in order: Markdown whose front matter has a kernel."""
    ordered = in_order((ROOT / "book").glob("*.md"))
    return [p for p in ordered if "kernelspec" in p.read_text("utf-8").split("\n---", 1)[0]]


def twin(page: Path) -> Path:
    """The executed notebook beside a page."""
    return page.with_suffix(".ipynb")


def read_twin(page: Path) -> NotebookNode | None:
    """The twin of a page, if it has one."""
    return nbformat.read(twin(page), as_version=4) if twin(page).exists() else None


def address() -> str:
    """The address of the repository by `_config.yml`; empty while it has none."""
    return yaml.safe_load((ROOT / "_config.yml").read_text("utf-8"))["repository"]["url"]


def launch_cells(url: str) -> list[NotebookNode]:
    """The cells with which a twin begins, by the address of the repository: one, or none."""
    if not url:
        return []
    tags = {"tags": ["remove-cell", "skip-execution", "nbval-skip"]}
    source = LAUNCH.format(url=url, name=url.rsplit("/", 1)[1])
    return [nbformat.v4.new_code_cell(source, id="launch", metadata=tags)]


def read_page(page: Path) -> NotebookNode:
    """The page as a notebook without outputs, with its final cell ids and metadata."""
    nb = jupytext.reads(page.read_text("utf-8"), fmt="md:myst")
    nb.metadata = NotebookNode(
        kernelspec=KERNEL, language_info=LANGUAGE, cnf=dict(nb.metadata.get("cnf", {}))
    )
    nb.nbformat, nb.nbformat_minor = 4, 5
    counts: dict[str, int] = {}
    for cell in nb.cells:
        digest = hashlib.sha256(f"{cell.cell_type}\n{cell.source}".encode()).hexdigest()[:8]
        counts[digest] = counts.get(digest, 0) + 1
        cell.id = digest if counts[digest] == 1 else f"{digest}-{counts[digest]}"
    nb.cells[:0] = launch_cells(address())
    return nb


def sources(page: Path, modules: Iterable[str]) -> list[Path]:
    """The files on which the outputs of a page depend, sorted: the page, these modules (named from
    the root of the repository), and the files that its front matter names.

    Raises: PageError if a glob under `cnf: reads:` matches no file.
    """
    files = {page, *(ROOT / name for name in modules)}
    for pattern in read_page(page).metadata.cnf.get("reads", []):
        matched = {p for p in ROOT.glob(pattern) if p.is_file()}
        if not matched:
            raise PageError(f"{page.name}: its front matter reads {pattern!r}, which is no file")
        files |= matched
    return sorted(files)


def fingerprint(path: Path) -> str:
    """The name of a file and the sha256 of its content, whatever its line ends. The hash of a
    module includes the table (.yml) beside it."""
    content = path.read_bytes().replace(b"\r\n", b"\n")
    if path.suffix == ".py":
        content = without_comments(content.decode()).encode()
        table = path.with_suffix(".yml")
        if table.is_file() and path != ROOT / TABLE:
            content += table.read_bytes().replace(b"\r\n", b"\n")
    return f"{path.relative_to(ROOT).as_posix()} {hashlib.sha256(content).hexdigest()}\n"


def declarations(page: Path, files: Iterable[Path]) -> list[str]:
    """What is declared of the measures that a page, or the rows that it reads, names: a new measure
    changes no other page."""
    words = set(re.findall(r"\w+", page.read_text("utf-8")))
    for path in files:
        if path.match("evaluations/*.json"):
            words |= set(re.findall(r'"metric": "(\w+)"', path.read_text("utf-8")))
    return [f"{MEASURES[name]}\n" for name in sorted(words & MEASURES.keys())]


def digest_of(page: Path, fingerprints: Mapping[Path, str]) -> str:
    """The digest of a page, by the fingerprints of the files that its outputs come from."""
    marks = [fingerprints[path] for path in sorted(fingerprints)]
    if ROOT / TABLE in fingerprints:
        marks += declarations(page, fingerprints)
    return digest(marks)


def digest(marks: Iterable[str]) -> str:
    return hashlib.sha256("".join(marks).encode()).hexdigest()


@functools.cache
def without_comments(source: str) -> str:
    """A Python source without comments and blank lines, the same in every version of Python. Text
    that is not Python is returned as it is."""
    lines, blank = source.splitlines(), set()
    try:
        for token in tokenize.generate_tokens(io.StringIO(source).readline):
            row, column = token.start
            if token.type == tokenize.COMMENT:
                lines[row - 1] = lines[row - 1][:column].rstrip()
            elif token.type == tokenize.NL:  # of no line inside a string
                blank.add(row)
    except (SyntaxError, tokenize.TokenError):
        return source
    return "\n".join(line for row, line in enumerate(lines, 1) if line.strip() or row not in blank)


def is_stale(page: Path) -> bool:
    """Whether a page has no twin, or one made from other sources."""
    nb = read_twin(page)
    if nb is None:
        return True
    stored = nb.metadata.get("cnf", {})
    modules = stored.get("modules", [])
    is_all_there = all((ROOT / name).is_file() for name in modules)
    if not is_all_there:
        return True
    files = sources(page, modules)
    return stored.get("sha256") != digest_of(page, {path: fingerprint(path) for path in files})


def versions(files: Iterable[str]) -> dict[str, str]:
    """Of the packages to which these files belong, of `PACKAGES`: major and minor version here."""
    folders = {part for name in files for part in Path(name).parts[-4:]}
    loaded = (package for name, package in PACKAGES.items() if name in folders)
    return {name: ".".join(metadata.version(name).split(".")[:2]) for name in loaded}


def made_by_others(page: Path) -> dict[str, str]:
    """The versions of packages that a twin was made by, where others are installed here."""
    kept = read_twin(page).metadata.get("cnf", {}).get("versions", {})
    here = {name: ".".join(metadata.version(name).split(".")[:2]) for name in kept}
    return {name: version for name, version in kept.items() if version != here[name]}


def decoded(png: str) -> Image.Image:
    """The picture of a PNG in base64, without its alpha channel if that is opaque."""
    image = Image.open(io.BytesIO(base64.b64decode(png))).convert("RGBA")
    return image.convert("RGB") if image.getchannel("A").getextrema() == (255, 255) else image


def pixels(image: Image.Image) -> tuple[str, tuple[int, int], bytes]:
    return image.mode, image.size, image.tobytes()


def encoded(image: Image.Image) -> str:
    """The picture as a small PNG without metadata, in base64."""
    image.info.clear()
    clean = io.BytesIO()
    image.save(clean, "PNG", optimize=True)
    return base64.b64encode(clean.getvalue()).decode()


def figures(nb: NotebookNode) -> list[NotebookNode]:
    """The mime bundles of a notebook's outputs that hold an SVG."""
    bundles = (out.get("data", {}) for cell in nb.cells for out in cell.get("outputs", []))
    return [data for data in bundles if "image/svg+xml" in data]


def clean_figures(nb: NotebookNode, old: NotebookNode | None) -> None:
    """Strip the pictures in the figures of `nb` in place; where `old` has the same pixels, take its
    bytes."""
    old_figures = [data["image/svg+xml"] for data in figures(old)] if old else []
    old_pngs = {pixels(decoded(png)): png for svg in old_figures for png in EMBEDDED.findall(svg)}

    def clean(png: re.Match[str]) -> str:
        image = decoded(png[0])
        return old_pngs.get(pixels(image)) or encoded(image)

    for data in figures(nb):
        data["image/svg+xml"] = EMBEDDED.sub(clean, data["image/svg+xml"])


def write(path: Path, text: str) -> bool:
    """Write a file if its content changes; returns whether it did."""
    if path.exists() and path.read_text("utf-8") == text:
        return False
    path.write_text(text, "utf-8", newline="\n")
    return True


def code() -> set[Path]:
    """The modules that outputs may come from: those of the package, but for the two that only list
    names, and those of experiments."""
    package = {*(ROOT / "cnf").rglob("*.py")} - {ROOT / name for name in LISTS}
    return package | {*(ROOT / "experiments").glob("*/*.py")}


def execute(page: Path) -> tuple[str, float]:
    """Execute a page in a fresh kernel, write its twin if it differs: (what was done, seconds).

    The kernel runs in the page's folder, on the package of this repository, with one thread and
    with CNF_DATA unset: a page must give the same output with and without benchmark data.

    Raises: PageError if a cell fails, runs too long or writes to stderr.
    """
    started = time.monotonic()
    nb, own_sources = read_page(page), sources(page, ())
    fingerprints = {path: fingerprint(path) for path in {*own_sources, *code()}}
    nb.cells.append(nbformat.v4.new_code_cell(LOADED))
    env = {k: v for k, v in os.environ.items() if k != "CNF_DATA"}
    env |= {"OMP_NUM_THREADS": "1", "PYTHONHASHSEED": "0"}
    env["PYTHONPATH"] = f"{ROOT}{os.pathsep}{env.get('PYTHONPATH', '')}".rstrip(os.pathsep)
    client = NotebookClient(
        nb,
        timeout=CELL_TIMEOUT,
        kernel_name="python3",
        record_timing=False,
        coalesce_streams=True,
        extra_arguments=["--log-level=ERROR"],
        resources={"metadata": {"path": str(page.parent)}},
    )
    try:
        client.execute(env=env)
    except (CellExecutionError, CellTimeoutError, DeadKernelError) as error:
        raise PageError(f"{page.name}: {error}") from None
    files = nb.cells.pop().outputs[0].text.splitlines()
    loaded = sorted(fingerprints.keys() & map(Path, files))
    made_from = {
        "modules": [path.relative_to(ROOT).as_posix() for path in loaded],
        "sha256": digest_of(page, {p: fingerprints[p] for p in {*own_sources, *loaded}}),
        "versions": versions(files),
    }
    nb.metadata.language_info = LANGUAGE  # the kernel wrote its own
    nb.metadata.cnf |= made_from
    for cell in nb.cells:
        cell.metadata.pop("execution", None)
        for output in cell.get("outputs", []):
            if output.get("name") == "stderr":
                raise PageError(f"{page.name}: a cell writes to stderr: {output.text.strip()}")
    clean_figures(nb, read_twin(page))
    done = "rewrote" if write(twin(page), nbformat.writes(nb) + "\n") else "unchanged"
    seconds = time.monotonic() - started
    return f"{done}  {twin(page).relative_to(ROOT)}  {seconds:.0f} s", seconds


def select(names: list[str]) -> list[Path]:
    """The pages of these names (stem or path); all of them, stale ones first, when none is named.

    Raises: PageError for a name that is no page.
    """
    all_pages = pages()
    if not names:
        return sorted(all_pages, key=lambda page: not is_stale(page))
    by_stem = {page.stem: page for page in all_pages}
    unknown = [name for name in names if Path(name).stem not in by_stem]
    if unknown:
        raise PageError(f"no page is named {unknown[0]!r}; there are: {', '.join(by_stem)}")
    return [by_stem[Path(name).stem] for name in names]


def record_times(seconds: dict[str, float], jobs: int, total: float) -> None:
    """Record how long pages took; the times of other pages stay, and removed pages are left out.

    The total is recorded only if every page ran, as the time of the whole book.
    """
    path = ROOT / TIMES
    recorded = json.loads(path.read_text("utf-8")) if path.exists() else {}
    hardware = f"{run_folder.processor()}, {os.cpu_count()} cores"
    provenance = {"jobs": jobs, "hardware": hardware} | run_folder.provenance(ROOT)
    by_page = {entry["page"]: entry for entry in recorded.get("pages", [])}
    by_page |= {
        page: {"page": page, "seconds": round(s, 1)} | provenance for page, s in seconds.items()
    }
    names = [page.stem for page in pages()]
    if set(seconds) == set(names):
        recorded["book"] = {"pages": len(names), "seconds": round(total, 1)} | provenance
    recorded["pages"] = [by_page[name] for name in names if name in by_page]
    path.parent.mkdir(parents=True, exist_ok=True)
    write(path, json.dumps(recorded, indent=1) + "\n")


def run(names: list[str], jobs: int, times: bool = False) -> int:
    """Execute pages, `jobs` at a time; returns how many failed. `times`: keep how long they took.

    Raises: PageError if `times` is asked for and a page failed: nothing is kept.
    """
    failed, seconds, started = 0, {}, time.monotonic()
    with ProcessPoolExecutor(jobs) as pool:
        for page, future in [(page, pool.submit(execute, page)) for page in select(names)]:
            try:
                done, seconds[page.stem] = future.result()
                print(done, flush=True)
            except PageError as error:
                failed += 1
                print(f"error: {error}", file=sys.stderr, flush=True)
    if times and failed:
        raise PageError(f"{failed} pages failed, so no times were kept: mend them and run again")
    if times:
        record_times(seconds, jobs, time.monotonic() - started)
    return failed


def check() -> int:
    """Name the stale pages and the line that executes them; returns how many there are."""
    all_pages, url = pages(), address()
    stale = [page.stem for page in all_pages if is_stale(page)]
    problem, remedy = "was not made from what is here now", f"notebooks PAGES='{' '.join(stale)}'"
    if not stale:
        begins = {
            page.stem: [c for c in read_twin(page).cells if c.id == "launch"] for page in all_pages
        }
        stale = [name for name, cells in begins.items() if cells != launch_cells(url)]
        problem, remedy = "does not begin as _config.yml asks", "address"
    for name in stale:
        print(f"book/{name}.ipynb {problem}", file=sys.stderr)
    if stale:
        print(f"run: make {remedy}", file=sys.stderr)
    return len(stale)


def check_versions() -> int:
    """Name the pages that other versions of packages have made, and the line that executes them;
    returns how many there are."""
    others = {page.stem: found for page in pages() if (found := made_by_others(page))}
    for name, found in others.items():
        says = ", ".join(f"{package} {version}" for package, version in found.items())
        print(f"book/{name}.ipynb was made by {says}", file=sys.stderr)
    if others:
        print(f"run: make notebooks PAGES='{' '.join(others)}'", file=sys.stderr)
    return len(others)


def set_address(url: str | None) -> None:
    """Write the repository's address, if one is given, to `_config.yml` and to the metadata of the
    package, and the twins' first cells.

    Raises: PageError for an address that is not of the form the buttons need.
    """
    if url is not None:
        url = url.removesuffix("/").removesuffix(".git")
        if url and not re.fullmatch(r"https://github\.com/[\w.-]+/[\w.-]+", url):
            raise PageError(
                f"{url!r} is not https://github.com/OWNER/NAME (Colab opens no other addresses); "
                "'' takes the buttons away"
            )
        path = ROOT / "_config.yml"
        line = re.compile(r'^  url: "[^"]*"', re.MULTILINE)
        text, count = line.subn(f'  url: "{url}"', path.read_text("utf-8"))
        if count != 1:
            raise PageError(f'_config.yml needs one line `  url: "..."`, and has {count}')
        write(path, text)
        path, line = ROOT / "pyproject.toml", f'Repository = "{url}"\n' if url else ""
        table = re.compile(r"^\[project\.urls\]\n(Repository = .*\n)?", re.MULTILINE)
        write(path, table.sub(f"[project.urls]\n{line}", path.read_text("utf-8")))
    for page in pages():
        nb = read_twin(page)
        if nb is not None:
            nb.cells = launch_cells(address()) + [c for c in nb.cells if c.id != "launch"]
            if write(twin(page), nbformat.writes(nb) + "\n"):
                print(f"rewrote  {twin(page).relative_to(ROOT)}")


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("command", choices=["run", "check", "address"])
    parser.add_argument("names", nargs="*", help="pages; or the address")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="pages at a time")
    parser.add_argument("--times", action="store_true", help=f"keep the times in {TIMES}")
    parser.add_argument("--versions", action="store_true", help="check: those of packages")
    arguments = (
        parser.parse_intermixed_args()
    )  # names may follow options, as `make notebooks` has them
    try:
        if arguments.command == "address":
            set_address(*(arguments.names or [None]))
            return 0
        if arguments.command == "check":
            num_failed = check_versions() if arguments.versions else check()
        else:
            num_failed = run(arguments.names, arguments.jobs, arguments.times)
    except PageError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 1 if num_failed else 0


if __name__ == "__main__":
    sys.exit(main())
