"""The numbers in results/: rows, tables and cards made of them, claims, and how to get them again.

rows.py       a row, where rows are kept, how one is found and written as text
report.py     tables of the README and model cards; tables.yml says which, card.md.j2 how
claims.py     what the paper says beside what we measured
reproduce.py  from a number to its command; the audit
"""

from cnf.replication.results.rows import (
    FEW,
    METRICS,
    RESULTS,
    Row,
    cells,
    describe,
    find,
    find_by_words,
    markdown,
    one,
    pictures,
    read,
    read_file,
    seeds_of,
    select,
    show,
    table,
    value,
    value_with_unit,
    write,
)

__all__ = [
    "FEW",
    "METRICS",
    "RESULTS",
    "Row",
    "cells",
    "describe",
    "find",
    "markdown",
    "find_by_words",
    "one",
    "pictures",
    "read",
    "read_file",
    "seeds_of",
    "select",
    "show",
    "table",
    "value",
    "value_with_unit",
    "write",
]
