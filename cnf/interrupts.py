"""Ctrl-C ends a command with one line and exit code 130, at any moment.

While modules load, nothing can be lost, and an exception in the middle of PyTorch's import can
crash the process: so it ends at once. When the work begins, Ctrl-C raises KeyboardInterrupt as
usual. It is also remembered, because a module that is loaded then may turn it into another error.
"""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

CODE = 130  # as a shell says SIGINT
_received: list[int] = []


def received() -> bool:
    """Whether Ctrl-C came since the work began."""
    return bool(_received)


@contextmanager
def handled() -> Iterator[None]:
    """Inside, until `work_begins`, Ctrl-C ends the process at once. A caller that listens to it, or
    ignores it, as `nohup` does, keeps its way."""
    is_main_thread = threading.current_thread() is threading.main_thread()
    if not is_main_thread or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return
    _received.clear()
    signal.signal(signal.SIGINT, _leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def work_begins() -> None:
    """From here on Ctrl-C raises KeyboardInterrupt: there may be something to put in order."""
    if signal.getsignal(signal.SIGINT) is _leave:
        signal.signal(signal.SIGINT, _interrupt)


def _leave(number: int, frame: FrameType | None) -> None:
    os.write(2, b"interrupted\n")
    os._exit(CODE)


def _interrupt(number: int, frame: FrameType | None) -> None:
    _received.append(number)
    raise KeyboardInterrupt
