"""Progress of long work, and warnings on the way; called from Python, both are silent."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Final, Protocol, TypeVar

Item = TypeVar("Item")


class Progress(Protocol):
    """Wraps an iterable of known length; `unit` is what one item is called."""

    def __call__(
        self, items: Iterable[Item], *, total: int, label: str, unit: str
    ) -> Iterator[Item]:
        """Yield the items, and report each."""
        ...


def silent(items: Iterable[Item], *, total: int, label: str, unit: str) -> Iterator[Item]:
    """Yield the items and report nothing."""
    del total, label, unit
    yield from items


def ignore_message(message: str) -> None:
    """Ignore a warning; records hold it too."""
    del message


@dataclass(frozen=True)
class Reporter:
    """Where a phase reports to while it works, and the command that its records name."""

    progress: Progress = silent
    warn: Callable[[str], None] = ignore_message
    command: tuple[str, ...] = ()


SILENT: Final = Reporter()
