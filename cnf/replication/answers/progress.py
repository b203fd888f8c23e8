"""How far a long computation is: a bar on a terminal, elsewhere a line now and then."""

import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

from tqdm import tqdm

Item = TypeVar("Item")
SECONDS = 20  # between lines


def watched(items: Iterable[Item], what: str, total: int) -> Iterator[Item]:
    """The items, `total` of them, which take their time. Bar and lines go to the error stream."""
    start = last = time.monotonic()
    for n, item in enumerate(tqdm(items, what, total, disable=None, leave=False), start=1):
        now = time.monotonic()
        if n < total and now - last >= SECONDS and not sys.stderr.isatty():
            print(f"{what}: {n} of {total}, {now - start:.0f} s", file=sys.stderr, flush=True)
            last = now
        yield item
