"""`python -m cnf`: the one door from the library to the laboratory, see `cnf.replication.cli`."""

import sys

try:
    from cnf.replication.cli import main
except ModuleNotFoundError as error:
    sys.exit(f"error: {error.name} is not installed: pip install 'cnf[replication]'")

if __name__ == "__main__":
    sys.exit(main())
