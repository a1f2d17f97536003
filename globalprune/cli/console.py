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
    """Tell the person at the terminal one thing; goes to stderr."""
    _write(sys.stderr, printable_message(text))


def warn(text: str) -> None:
    """Say what is doubtful."""
    say(f"warning: {text}")


def note(text: str) -> None:
    """Say what is good to know."""
    say(f"note: {text}")


def print_text(text: str) -> None:
    """Give the answer; goes to stdout."""
    _write(sys.stdout, printable_lines(text))


def print_json(value: Any) -> None:
    """Give the answer as the one JSON document on stdout."""
    encoding = (sys.stdout.encoding or "utf-8").lower().replace("-", "")
    text = json.dumps(value, indent=2, ensure_ascii=encoding != "utf8")
    _write(sys.stdout, printable_json(text))


def _write(stream: TextIO, text: str) -> None:
    """Write lines; what the stream's encoding lacks is spelled by its escape."""
    encoding = stream.encoding or "utf-8"
    stream.write(text.encode(encoding, "backslashreplace").decode(encoding) + "\n")
    stream.flush()


def show_bug(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Show what no user can mend, and how to report it."""
    say("".join(traceback.format_exception(kind, error, trace)).rstrip())
    say("gp: this is a fault of globalprune; please report it, with the command and these lines.")


class PlainStream(io.TextIOBase):
    """A stream to a terminal or a log that no text of others can command.

    Libraries, typer and logging write through it. What a bar of tqdm begins with is let through:
    a carriage return, or the way to the line of another bar.
    """

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream

    def write(self, text: str) -> int:
        """Write with every character spelled that would act."""
        head = _OF_BARS.match(text)
        begins = head[0] if head else ""
        self.stream.write(begins + printable_lines(text[len(begins) :]))
        return len(text)

    def flush(self) -> None:
        """Hand on what is buffered."""
        self.stream.flush()

    def isatty(self) -> bool:
        """Whether a person is watching."""
        return self.stream.isatty()

    def fileno(self) -> int:
        """The descriptor below."""
        return self.stream.fileno()

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """That of the stream below."""
        return self.stream.encoding

    @property
    def errors(self) -> str | None:  # type: ignore[override]
        """What the stream below does with characters that its encoding lacks."""
        return self.stream.errors


def command_line() -> tuple[str, ...]:
    """The command by its arguments, so that records can repeat it."""
    return ("gp", *sys.argv[1:])


@contextmanager
def progress_bars() -> Iterator[Progress]:
    """Hand out a `Progress`: bars on stderr, or now and then a line where there is no terminal."""
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


@contextmanager
def reporting() -> Iterator[Reporter]:
    """Hand out what a phase reports to: bars, warnings on stderr, and this command."""
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
        """Yield the items and move the bar behind each."""
        task = self._bars.add_task(printable(f"{label} ({unit})"), total=total)
        for item in items:
            yield item
            self._bars.advance(task)
        self._bars.remove_task(task)


def _lines(items: Iterable[Item], *, total: int, label: str, unit: str) -> Iterator[Item]:
    """Yield the items and say at every tenth of them how far it is, once it has taken a while."""
    started = time.monotonic()
    said = 0
    for done, item in enumerate(items, start=1):
        yield item
        seconds = time.monotonic() - started
        tenth = 10 * done // total if total else 0
        if seconds > SHOWN_AFTER and tenth > said:
            said = tenth
            say(f"{label}: {done} of {total} {unit}, {seconds:.0f} s")


@contextmanager
def quiet_libraries() -> Iterator[None]:
    """Keep the chatter of other libraries off stderr; warnings of ours still come through."""
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
    """Draw it without colours, and without blanks at the ends of lines."""
    from rich.console import Console

    drawn = io.StringIO()
    width = shutil.get_terminal_size((NARROWEST, 24)).columns
    Console(file=drawn, width=width, color_system=None, highlight=False, markup=False).print(table)
    return [line.rstrip() for line in drawn.getvalue().splitlines()]


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
