"""stdout, stderr, progress bars, tables and signals of the command line.

Ctrl-C, a scheduler's SIGTERM and a closed terminal end a command alike: it cleans up and says so. A
library may turn the exception that a signal raises inside it into one of its own; once a signal has
come, whatever comes out counts as that interruption.
"""

import io
import json
import logging
import os
import re
import shutil
import signal
import sys
import threading
import time
import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Any, Final, TextIO, TypeVar

from globalprune.printable import (
    printable,
    printable_json,
    printable_lines,
    printable_message,
)
from globalprune.progress import Progress, Reporter

if TYPE_CHECKING:
    from rich.progress import Progress as Bars
    from rich.table import Table


Item = TypeVar("Item")
_VERBOSITY = ("HF_HUB_VERBOSITY", "DATASETS_VERBOSITY", "TRANSFORMERS_VERBOSITY")
_OF_BARS: Final = re.compile(r"\r|(?:\x1b\[A)+$")
SHOWN_AFTER: Final = 2.0  # seconds; what is faster needs no bar
NARROWEST: Final = 100  # columns where there is no terminal to ask
_NAMES = ("SIGINT", "SIGTERM", "SIGHUP")  # the last is not on every system
SIGNALS = tuple(getattr(signal, name) for name in _NAMES if hasattr(signal, name))
_BASE = 128  # a shell adds it to the number of the signal that ended a program


def say(text: str) -> None:
    """Write a message to stderr."""
    _write(sys.stderr, printable_message(text))


def warn(text: str) -> None:
    """Write a warning to stderr."""
    say(f"warning: {text}")


def note(text: str) -> None:
    """Write a note to stderr."""
    say(f"note: {text}")


def print_text(text: str) -> None:
    """Write the answer to stdout."""
    _write(sys.stdout, printable_lines(text))


def print_json(value: Any) -> None:
    """Write the answer to stdout as one JSON document."""
    encoding = (sys.stdout.encoding or "utf-8").lower().replace("-", "")
    text = json.dumps(value, indent=2, ensure_ascii=encoding != "utf8")
    _write(sys.stdout, printable_json(text))


def _write(stream: TextIO, text: str) -> None:
    """Write lines, with escapes for characters that the stream's encoding lacks."""
    encoding = stream.encoding or "utf-8"
    stream.write(text.encode(encoding, "backslashreplace").decode(encoding) + "\n")
    stream.flush()


def show_bug(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Show the traceback of a fault of globalprune, and ask for a report."""
    say("".join(traceback.format_exception(kind, error, trace)).rstrip())
    say("gp: this is a fault of globalprune; please report it, with the command and these lines.")


class PlainStream(io.TextIOBase):
    """A stream to a terminal or a log, which no control character of other programs reaches.

    Libraries, typer and logging write through it. It keeps what moves the cursor for a bar of tqdm:
    a carriage return, or the sequence that goes to the line of another bar.
    """

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream

    def write(self, text: str) -> int:
        """Write the text, with escapes for its control characters."""
        head = _OF_BARS.match(text)
        begins = head[0] if head else ""
        self.stream.write(begins + printable_lines(text[len(begins) :]))
        return len(text)

    def flush(self) -> None:
        """Flush the stream below."""
        self.stream.flush()

    def isatty(self) -> bool:
        """Whether a person is watching."""
        return self.stream.isatty()

    def fileno(self) -> int:
        """The descriptor below."""
        return self.stream.fileno()

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """The encoding of the stream below."""
        return self.stream.encoding

    @property
    def errors(self) -> str | None:  # type: ignore[override]
        """How the stream below treats characters that its encoding lacks."""
        return self.stream.errors


def command_line() -> tuple[str, ...]:
    """Return the arguments of this command, which records name."""
    return ("gp", *sys.argv[1:])


@contextmanager
def progress_bars() -> Iterator[Progress]:
    """Yield a `Progress`: bars on stderr, or a line now and then where stderr is no terminal."""
    if not sys.stderr.isatty():
        yield _lines
        return
    from rich import progress
    from rich.console import Console

    columns = (
        progress.TextColumn("{task.description}", markup=False),
        progress.BarColumn(),
        progress.MofNCompleteColumn(),
        progress.TimeElapsedColumn(),
        progress.TimeRemainingColumn(),
    )
    with progress.Progress(*columns, console=Console(file=_terminal()), transient=True) as bars:
        yield _Bars(bars)


def late_bars(items: Iterable[Item], *, total: int, label: str, unit: str) -> Iterator[Item]:
    """Report as `progress_bars` do, which are opened only now: a `Progress` for rare long work."""
    with progress_bars() as progress:
        yield from progress(items, total=total, label=label, unit=unit)


@contextmanager
def reporting() -> Iterator[Reporter]:
    """Yield the reporter of a phase: bars and warnings on stderr, and this command."""
    with progress_bars() as progress:
        yield Reporter(progress, warn, command_line())


def _terminal() -> TextIO:
    """The stream that bars are drawn on."""
    stream = sys.stderr
    return stream.stream if isinstance(stream, PlainStream) else stream


class _Bars:
    """Draws one bar for each wrapped iterable."""

    def __init__(self, bars: "Bars") -> None:
        self._bars = bars

    def __call__(
        self, items: Iterable[Item], *, total: int, label: str, unit: str
    ) -> Iterator[Item]:
        """Yield the items, and move the bar on after each."""
        task = self._bars.add_task(printable(f"{label} ({unit})"), total=total)
        for item in items:
            yield item
            self._bars.advance(task)
        self._bars.remove_task(task)


def _lines(items: Iterable[Item], *, total: int, label: str, unit: str) -> Iterator[Item]:
    """Yield the items, and after some seconds write a line at every tenth of them."""
    started = time.monotonic()
    reported = 0
    for done, item in enumerate(items, start=1):
        yield item
        seconds = time.monotonic() - started
        tenth = 10 * done // total if total else 0
        if seconds > SHOWN_AFTER and tenth > reported:
            reported = tenth
            say(f"{label}: {done} of {total} {unit}, {seconds:.0f} s")


@contextmanager
def quiet_libraries() -> Iterator[None]:
    """Keep messages of other libraries off stderr; our own warnings still appear."""
    for variable in _VERBOSITY:  # a library that loads later reads its own
        os.environ.setdefault(variable, "error")
    names = ("transformers", "datasets", "huggingface_hub", "filelock", "fsspec", "gguf")
    levels = {name: logging.getLogger(name).level for name in names}
    for name in names:
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        yield
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)


def lines_of(table: "Table") -> list[str]:
    """Draw a table without colours, and without blanks at the ends of lines."""
    from rich.console import Console

    drawn = io.StringIO()
    width = shutil.get_terminal_size((NARROWEST, 24)).columns
    Console(file=drawn, width=width, color_system=None, highlight=False, markup=False).print(table)
    return [line.rstrip() for line in drawn.getvalue().splitlines()]


class Interrupted(BaseException):
    """A signal ends the command; no library catches this as a KeyboardInterrupt of its own."""

    def __init__(self, number: int) -> None:
        self.exit_code = _BASE + number


@contextmanager
def interruptible() -> Iterator[None]:
    """Raise `Interrupted` in the block when one of these signals comes.

    A signal that is ignored already, as under nohup, stays ignored. Outside the main thread nothing
    changes, for Python handles signals only there.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    received: list[int] = []

    def interrupt(number: int, _frame: FrameType | None) -> None:
        received.append(number)
        for other in SIGNALS:  # so that none interrupts the cleaning up
            signal.signal(other, signal.SIG_IGN)
        raise Interrupted(number)

    before = {number: signal.getsignal(number) for number in SIGNALS}
    for number, handler in before.items():
        if handler != signal.SIG_IGN:
            signal.signal(number, interrupt)
    try:
        yield
    except Exception as error:
        if received:
            raise Interrupted(received[0]) from error
        raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def report_cached_on_interrupt(out: Path | None) -> Iterator[None]:
    """Say on an interruption what is kept, and that the same command continues."""
    try:
        yield
    except Interrupted:
        if out is None:
            say("gp: nothing is kept without -o DIR.")
        else:
            say(f"gp: {out} keeps what is evaluated; the same command continues.")
        raise


@contextmanager
def report_unfinished_on_interrupt(out: Path) -> Iterator[None]:
    """Say on an interruption where the work is kept, and how to resume it."""
    from globalprune.artifacts.run_folder import RunFolder

    try:
        yield
    except Interrupted:
        work = RunFolder.beside(out.expanduser())
        if work.exists:
            say(f"gp: {work.folder} keeps the work; the same command with --resume continues.")
        else:
            say("gp: nothing is kept yet; run the command again.")
        raise
