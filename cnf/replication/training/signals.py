"""End a slice of a run before its budget: its time is over, or a signal came."""

import math
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from cnf.replication import distributed


class Stop:
    """Whether to stop. If one process has to stop, all do; so all must ask, in the same order."""

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
    """Inside, the first SIGINT or SIGTERM only sets the Stop; a second one acts at once."""
    received: list[int] = []
    stop = Stop(max_minutes, received)
    is_main_thread = threading.current_thread() is threading.main_thread()  # others may not listen
    old_handlers = {
        n: signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM) if is_main_thread
    }

    def restore(*signal_arguments) -> None:
        received.extend(signal_arguments[:1])
        for number, handler in old_handlers.items():
            signal.signal(number, handler)

    for number in old_handlers:
        signal.signal(number, restore)
    try:
        yield stop
    finally:
        restore()
