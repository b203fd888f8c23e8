"""`python -m cnf start` and `python -m cnf check`: nothing but PyTorch is needed."""

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from cnf.lessons import pieces, verdicts
from cnf.testing import placed

STUBS = Path(__file__).with_name("my_flow.py")


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(prog="python -m cnf")
    commands = top.add_subparsers(dest="command", required=True)
    words = "Write the file of the lessons: a class to write in each of them, with its example."
    one = commands.add_parser("start", help=words, description=words)
    one.add_argument("file", type=Path, nargs="?", default=Path("my_flow.py"), metavar="FILE.py")
    words = "write experiments/NAME instead, a task with two methods to write (the capstone)"
    one.add_argument("--task", metavar="NAME", help=words)
    words = "Say which classes of the file are right, what is wrong and why, and what is next."
    two = commands.add_parser("check", help=words, description=words)
    two.add_argument("file", type=Path, nargs="?", default=Path("my_flow.py"), metavar="FILE.py")
    two.add_argument("--lesson", type=int, choices=pieces.LESSONS, metavar="N", help=pieces.WHICH)
    return top


def main(arguments: Sequence[str]) -> int:
    """0; of check, 1 if something that is written is wrong; 2 for files missing or in the way."""
    options = parser().parse_args(arguments)
    if options.command == "start":
        try:
            return start_task(options.task) if options.task else start(options.file)
        except OSError as error:
            return refuse(f"{error.filename} cannot be written ({error.strerror}): go elsewhere")
    try:
        names = verdicts.load(options.file)
    except (Exception, SystemExit) as error:
        said = error if isinstance(error, FileNotFoundError) else placed(error)
        print(f"error: {said}", file=sys.stderr)
        return 2
    found = verdicts.verdicts(names, options.lesson)
    print(verdicts.text(found))
    return int(any(verdict.status == "wrong" for verdict in found))


def refuse(words: str) -> int:
    print(f"error: {words}", file=sys.stderr)
    return 2


def start(file: Path) -> int:
    if file.exists():
        return refuse(f"{file} exists: give another name, or move it: nothing is overwritten")
    file.write_text(STUBS.read_text("utf-8"), "utf-8")
    print(f"{file}: write a class, then: python -m cnf check {file}")
    return 0


def start_task(name: str) -> int:
    """Write experiments/NAME/plug.py and its run, in the folder of the repository."""
    folder = Path("experiments", name)
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
        return refuse(f"--task {name}: give small letters, digits and _, beginning with a letter")
    if name in ("sr", "vessels"):
        return refuse(f"--task {name}: there is a task of this name: give another")
    if not folder.parent.is_dir():
        return refuse(f"there is no folder experiments in {Path.cwd()}: go to the repository")
    if folder.exists():
        return refuse(f"{folder} exists: give another name, nothing is overwritten")
    (folder / "runs").mkdir(parents=True)
    for source, target in (("my_task.txt", "plug.py"), ("my_task.yml", "runs/flow.yml")):
        text = STUBS.with_name(source).read_text("utf-8").replace("NAME", name)
        (folder / target).write_text(text, "utf-8")
    print(f"{folder / 'plug.py'}: write pair and image; its first lines say how to go on")
    return 0
