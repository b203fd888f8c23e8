"""`python -m cnf`: the door to the lessons' file, `cnf.lessons.command`, and the one door from the
library to the laboratory, `cnf.replication.cli`."""

import sys
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    words = sys.argv[1:] if arguments is None else arguments
    if words and words[0] in ("start", "check"):
        from cnf.lessons import command

        return command.main(words)
    try:
        from cnf.replication import cli
    except ModuleNotFoundError as error:
        sys.exit(f"error: {error.name} is not installed: pip install 'cnf[replication]'")
    return cli.main(words)


if __name__ == "__main__":
    sys.exit(main())
