"""OUT.unfinished: where long work keeps what it has until OUT takes its place.

It says what was asked, so that work is only resumed as the work that it is.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from globalprune.artifacts.staging import remove_folder, staged_folder
from globalprune.errors import UsageError

ASKED_FILE: Final = "asked.json"
_SUFFIX: Final = ".unfinished"


class UnfinishedWork:
    """The folder of work that is under way, or was stopped."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @classmethod
    def beside(cls, out: Path) -> "UnfinishedWork":
        """The work that is to become `out`."""
        place = out.resolve()
        return cls(place.with_name(place.name + _SUFFIX))

    @property
    def exists(self) -> bool:
        """Whether work of ours lies there."""
        return (self.folder / ASKED_FILE).is_file()

    def refuse(self, *, resume: bool, overwrite: bool) -> None:
        """Raise `UsageError` where another start left something that nobody said what to do with.

        A folder of that name that holds no work of ours is a person's, and is never touched.
        """
        if not self.folder.exists():
            return
        if not self.exists:
            raise UsageError(
                f"{self.folder}: is in the way and holds no unfinished run; move it, or choose "
                "another -o."
            )
        if not resume and not overwrite:
            raise UsageError(
                f"{self.folder}: holds a run that was stopped; say --resume to go on with it, or "
                "--overwrite to begin anew."
            )

    def begin(self, asked: dict[str, Any], *, resume: bool) -> None:
        """Make the folder for this work; raise `UsageError` if what is to be resumed is other."""
        if resume and self.folder.exists():
            self._refuse_other(asked)
            return
        with staged_folder(self.folder, replace=True) as staging:
            (staging / ASKED_FILE).write_text(json.dumps(asked, indent=2) + "\n", encoding="utf-8")

    @contextmanager
    def forgotten_if_empty(self) -> Iterator[None]:
        """Where the block fails before anything was kept, leave nothing in the way of the next."""
        try:
            yield
        except BaseException:
            files = [path for path in self.folder.rglob("*") if path.is_file()]
            if all(path.name == ASKED_FILE for path in files):
                self.remove()
            raise

    def remove(self) -> None:
        """Clear it away, once OUT is in its place; a folder that holds no work of ours stays."""
        if self.exists:
            remove_folder(self.folder)

    def _refuse_other(self, asked: dict[str, Any]) -> None:
        """Say in what the work that lies there differs from what is asked for."""
        path = self.folder / ASKED_FILE
        begun = _read(path)
        wanted = json.loads(json.dumps(asked))  # as it would be read again
        differing = list(_differences(begun, wanted))
        if differing:
            told = "; ".join(f"{name} was {was}, is {now}" for name, was, now in differing)
            raise UsageError(
                f"{path}: can't be resumed, since something else was begun ({told}); repeat its "
                "command, or say --overwrite instead of --resume to begin anew."
            )


def _differences(
    begun: dict[str, Any], wanted: dict[str, Any], under: str = ""
) -> Iterator[tuple[str, Any, Any]]:
    """Yield what differs by its dotted name, with what was asked then and now."""
    for name in begun | wanted:
        was, now = begun.get(name), wanted.get(name)
        if isinstance(was, dict) and isinstance(now, dict):
            yield from _differences(was, now, f"{under}{name}.")
        elif was != now:
            yield f"{under}{name}", was, now


def _read(path: Path) -> dict[str, Any]:
    """What was asked; raise `UsageError` if nobody can tell any more."""
    try:
        asked = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise _unreadable(path, str(error)) from error
    if not isinstance(asked, dict):
        raise _unreadable(path, "is no JSON object")
    return asked


def _unreadable(path: Path, reason: str) -> UsageError:
    """Say that a damaged note leaves only one way."""
    return UsageError(
        f"{path}: can't be read ({reason}), so nobody can tell what was begun; say --overwrite "
        "instead of --resume to begin anew."
    )
