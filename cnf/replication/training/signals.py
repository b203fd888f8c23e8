"""When a slice of a run ends before its budget: its time is over, or a signal came."""

import math
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from cnf.replication import distributed


class Stop:
    """Whether to stop, in any process: then all do. Each must ask, in the same order."""

    def __init__(self, max_minutes: float | None, received: list[int]):
        self.end = math.inf if max_minutes is None else time.monotonic() + 60 * max_minutes
        self.received = received

    def now(self) -> bool:
        """Whether the time is over or a signal came."""
        return distributed.any_of(bool(self.received) or time.monotonic() >= self.end)

    def by_signal(self) -> bool:
        """Whether a signal came."""
        return distributed.any_of(bool(self.received))


@contextmanager
def stopping(max_minutes: float | None) -> Iterator[Stop]:
    """Inside, the first SIGINT or SIGTERM only tells the Stop; a second one acts at once."""
    received: list[int] = []
    stop = Stop(max_minutes, received)
    here = threading.current_thread() is threading.main_thread()  # others may not listen
    before = {n: signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM) if here}

    def restore(*signalled) -> None:
        received.extend(signalled[:1])
        for number, handler in before.items():
            signal.signal(number, handler)

    for number in before:
        signal.signal(number, restore)
    try:
        yield stop
    finally:
        restore()
