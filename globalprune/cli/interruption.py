"""Ctrl-C and a scheduler's SIGTERM end a command alike: cleaned up, with a word, and at once."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)
_BASE = 128  # a shell adds it to the number of the signal that ended a program


class Interrupted(BaseException):
    """Someone wants the command to end; no library takes it for its own KeyboardInterrupt."""

    def __init__(self, number: int) -> None:
        self.exit_code = _BASE + number


@contextmanager
def interruptible() -> Iterator[None]:
    """Raise `Interrupted` for these signals while inside; only a main thread can."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, _interrupt) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _interrupt(number: int, _frame: FrameType | None) -> None:
    """Stop whatever runs; a second signal while it cleans up is not heard."""
    for other in SIGNALS:
        signal.signal(other, signal.SIG_IGN)
    raise Interrupted(number)
