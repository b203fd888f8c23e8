"""`python -m cnf`, or `cnf`: the door to the lessons' file, `cnf.lessons.command`, and the one door
from the library to the laboratory, `cnf.replication.cli`."""

import sys
from collections.abc import Sequence

from cnf import interrupts


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command, see `cnf.replication.cli.main`; or say which version this is."""
    try:
        with interrupts.handled():
            return run(sys.argv[1:] if arguments is None else arguments)
    except KeyboardInterrupt:  # in the moment before it is handled, or after
        print("interrupted", file=sys.stderr)
        return interrupts.CODE


def run(words: Sequence[str]) -> int:
    """The command that these words name."""
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="replace")  # a terminal that has no ✓, a file without τ
    if words == ["--version"]:
        print(version())
        return 0
    if words and words[0] in ("start", "check"):
        from cnf.lessons import command

        return command.main(words)
    try:
        from cnf.replication import cli
    except ModuleNotFoundError as error:
        from cnf.errors import not_installed

        words = f"{not_installed(error)}. Without it there are start, check and --version"
        print(f"error: {words}", file=sys.stderr)
        return 2
    return cli.main(words)


def version() -> str:
    """The version of the package, and of which commit it is, where that is known."""
    from cnf import __version__
    from cnf.replication.places import git_state

    commit, is_changed = git_state()
    if commit is None:
        return f"cnf {__version__}, commit not known"
    return f"cnf {__version__}, commit {commit[:8]}{' with changes' if is_changed else ''}"


if __name__ == "__main__":
    sys.exit(main())
