"""Where words go: artifacts and answers to stdout, talk and progress to stderr.

Nothing else in the package prints. rich is imported only once something long is running.
"""

import json
import logging
import os
import shlex
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from globalprune.progress import Progress

if TYPE_CHECKING:
    from rich.progress import Progress as Bars

Item = TypeVar("Item")
_VERBOSITY = ("HF_HUB_VERBOSITY", "DATASETS_VERBOSITY", "TRANSFORMERS_VERBOSITY")
SHOWN_AFTER = 2.0  # seconds; what is faster needs no bar


def say(text: str) -> None:
    """Tell the person at the terminal; goes to stderr."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def warn(text: str) -> None:
    """Say what is doubtful."""
    say(f"warning: {text}")


def print_text(text: str) -> None:
    """Give the answer; goes to stdout."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def print_json(value: Any) -> None:
    """Give the answer as the one JSON document on stdout."""
    print_text(json.dumps(value, indent=2, ensure_ascii=False))


def command_line() -> str:
    """The command as it was typed, so that records can repeat it."""
    return shlex.join(["gp", *sys.argv[1:]])


@contextmanager
def progress_bars() -> Iterator[Progress]:
    """Hand out a `Progress`: bars on stderr, or now and then a line where there is no terminal."""
    if not sys.stderr.isatty():
        yield _lines
        return
    from rich import progress
    from rich.console import Console

    columns = (
        progress.TextColumn("{task.description}"),
        progress.BarColumn(),
        progress.MofNCompleteColumn(),
        progress.TimeElapsedColumn(),
        progress.TimeRemainingColumn(),
    )
    with progress.Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        yield _Bars(bars)


class _Bars:
    """Draws one bar for each wrapped iterable."""

    def __init__(self, bars: "Bars") -> None:
        self._bars = bars

    def __call__(
        self, items: Iterable[Item], *, total: int, label: str, unit: str
    ) -> Iterator[Item]:
        """Yield the items and move the bar behind each."""
        task = self._bars.add_task(f"{label} ({unit})", total=total)
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
