"""The numbers in results/: rows, tables made of them, claims, and how to get them again. Nothing
here loads a model: what numbers are called stands in `cnf.replication.measures`.

rows.py    a row, where rows are kept, how one is found and written as text
report.py  tables of the README and of the replication report; tables.yml says which
claims.py  what the paper says beside what we measured
how.py     from a number to its command
"""

from cnf.replication.results.rows import (
    FEW,
    MEASURES,
    RESULTS,
    Row,
    cells,
    describe,
    find_by_words,
    find_rows,
    markdown,
    one,
    pictures,
    read_file,
    read_rows,
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
    "MEASURES",
    "RESULTS",
    "Row",
    "cells",
    "describe",
    "find_rows",
    "markdown",
    "find_by_words",
    "one",
    "pictures",
    "read_rows",
    "read_file",
    "seeds_of",
    "select",
    "show",
    "table",
    "value",
    "value_with_unit",
    "write",
]
