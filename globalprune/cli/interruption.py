"""Ctrl-C, a scheduler's SIGTERM and a closed terminal end a command alike: cleaned up, with a word.

A library may turn the exception that a signal raises inside it into one of its own; once a signal
came, whatever comes out counts as that interruption.
"""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from globalprune.cli.console import say

_NAMES = ("SIGINT", "SIGTERM", "SIGHUP")  # the last is not on every system
SIGNALS = tuple(getattr(signal, name) for name in _NAMES if hasattr(signal, name))
_BASE = 128  # a shell adds it to the number of the signal that ended a program


class Interrupted(BaseException):
    """Someone wants the command to end; no library takes it for its own KeyboardInterrupt."""

    def __init__(self, number: int) -> None:
        self.exit_code = _BASE + number


@contextmanager
def interruptible() -> Iterator[None]:
    """Raise `Interrupted` for these signals while inside; only a main thread can.

    A signal that is ignored already, as under nohup, stays ignored.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    heard: list[int] = []

    def interrupt(number: int, _frame: FrameType | None) -> None:
        heard.append(number)
        for other in SIGNALS:  # not again while it cleans up
            signal.signal(other, signal.SIG_IGN)
        raise Interrupted(number)

    before = {number: signal.getsignal(number) for number in SIGNALS}
    for number, handler in before.items():
        if handler != signal.SIG_IGN:
            signal.signal(number, interrupt)
    try:
        yield
    except Exception as error:
        if heard:
            raise Interrupted(heard[0]) from error
        raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def report_cached_on_interrupt(out: Path | None) -> Iterator[None]:
    """Say that an interrupted command goes on, where it keeps what is finished."""
    try:
        yield
    except Interrupted:
        if out is None:
            say("gp: without -o DIR nothing was kept.")
        else:
            say(f"gp: {out} keeps what was judged; the same command goes on.")
        raise


@contextmanager
def report_unfinished_on_interrupt(out: Path) -> Iterator[None]:
    """Say where an interrupted command keeps what it had done, and how to go on."""
    from globalprune.artifacts.run_folder import RunFolder

    try:
        yield
    except Interrupted:
        work = RunFolder.beside(out.expanduser())
        if work.exists:
            say(f"gp: {work.folder} keeps what was done; the same command with --resume goes on.")
        else:
            say("gp: nothing was kept so far to go on with; say the command again.")
        raise
