"""RunFolder: where long work keeps what it has, under names, until its result takes its place.

It says what the run is, to the last thing that decides its outcome, so that work is only resumed as
the work that it is. Tensors and records in it carry a key, too: what was kept under another one is
as good as not there.
"""

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, Final, TypeVar

from pydantic import ValidationError

from globalprune.artifacts.disk import temporary_file, write_atomically
from globalprune.artifacts.records import Record, digest_json
from globalprune.artifacts.staging import link_tree, move_into_place, remove_folder, staged_folder
from globalprune.errors import UsageError

RUN_FILE: Final = "run.json"
_SUFFIX: Final = ".unfinished"
_MOVING: Final = "moving.json"
_TENSORS: Final = ".safetensors"
_KEY, _RECORD = "key", "record"
_NAME_DIGITS: Final = 16
_SHOWN: Final = 120  # characters of a value in a message

Tensors = Mapping[str, Any]  # of torch, which doesn't load with this module


class KeyedRecord(Record):
    """A record that tells what its figures depend on."""

    kind: ClassVar[str]  # what its file's name begins with

    key: dict[str, Any]


KeyedT = TypeVar("KeyedT", bound=KeyedRecord)
RecordT = TypeVar("RecordT", bound=Record)


class RunFolder:
    """A folder of kept work; without a folder nothing is kept and nothing is found."""

    def __init__(self, folder: Path | None, key: Mapping[str, Any] | None = None) -> None:
        self._folder = folder
        self._key = dict(key or {})

    @classmethod
    def beside(cls, out: Path) -> "RunFolder":
        """The folder of the run that is to become `out`."""
        place = out.resolve()
        return cls(place.with_name(place.name + _SUFFIX))

    def part(self, name: str) -> "RunFolder":
        """A folder in this one, for a part of the same run."""
        return RunFolder(self._folder and self._folder / name, self._key)

    def keyed(self, **more: Any) -> "RunFolder":
        """The same folder, for what depends on more than the run."""
        return RunFolder(self._folder, {**self._key, **more})

    @property
    def folder(self) -> Path:
        """Where it lies."""
        if self._folder is None:
            raise ValueError("nothing is kept here")
        return self._folder

    # what the run is

    @property
    def exists(self) -> bool:
        """Whether a run of ours lies there."""
        return self._folder is not None and (self._folder / RUN_FILE).is_file()

    def refuse(self, *, resume: bool, overwrite: bool) -> None:
        """Raise `UsageError` where another start left something that nobody said what to do with.

        A folder of that name that holds no run of ours is a person's, and is never touched.
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

    def begin(self, identity: Mapping[str, Any], *, resume: bool) -> None:
        """Make the folder for this run; raise `UsageError` if what is to be resumed is another."""
        self._key["run"] = digest_json(identity)
        if resume and self.folder.exists():
            self._refuse_other(identity)
            self._take_back()
            return
        with staged_folder(self.folder, replace=True) as staging:
            text = json.dumps(identity, indent=2) + "\n"
            (staging / RUN_FILE).write_text(text, encoding="utf-8")

    @contextmanager
    def forgotten_if_empty(self) -> Iterator[None]:
        """Where the block fails before anything was kept, leave nothing in the way of the next."""
        try:
            yield
        except BaseException:
            files = [path for path in self.folder.rglob("*") if path.is_file()]
            if all(path.name == RUN_FILE for path in files):
                self.remove()
            raise

    def remove(self) -> None:
        """Clear it away, once its result is in place; a folder that holds no run of ours stays."""
        if self.exists:
            remove_folder(self.folder)

    def hand_over(self, stage: str, target: Path, *, replace: bool) -> None:
        """Let the folder of a finished stage take the place of `target`.

        If it is killed in that moment, the stage is found again when the run is resumed, and never
        what stood at `target` before.
        """
        folder = self.folder / stage
        moving = {"stage": stage, "target": str(target), "inode": folder.stat().st_ino}
        write_atomically(self.folder / _MOVING, json.dumps(moving) + "\n")
        move_into_place(folder, target, replace=replace)

    def _take_back(self) -> None:
        """Where a stage was handed over when the run was killed, have it here, too."""
        marker = self.folder / _MOVING
        if not marker.is_file():
            return
        moving = json.loads(marker.read_text("utf-8"))
        stage, target = self.folder / moving["stage"], Path(moving["target"])
        if target.is_dir() and target.stat().st_ino == moving["inode"]:
            remove_folder(stage)  # what is left of the folder that was replaced
            with staged_folder(stage) as new:
                link_tree(target, new)
        marker.unlink()

    def _refuse_other(self, identity: Mapping[str, Any]) -> None:
        """Say in what the run that lies there differs from this one."""
        path = self.folder / RUN_FILE
        begun = _read(path)
        wanted = json.loads(json.dumps(identity))  # as it would be read again
        differing = list(_differences(begun, wanted))
        if differing:
            said = "; ".join(
                f"{name} was {_shown(was)}, is {_shown(now)}" for name, was, now in differing
            )
            raise UsageError(
                f"{path}: can't be resumed, since something else was begun ({said}); repeat its "
                "command, or say --overwrite instead of --resume to begin anew."
            )

    # tensors

    def keep_tensors(self, name: str, tensors: Tensors, record: Record | None = None) -> None:
        """Keep tensors under a name, bit for bit, whole or not at all; a record with them."""
        from safetensors.torch import save_file

        path = self._tensor_file(name)
        if path is not None:
            plain = {key: tensor.cpu().contiguous() for key, tensor in tensors.items()}
            with temporary_file(path) as temporary:
                save_file(plain, os.fspath(temporary), metadata=self._metadata(record))

    def find_tensors(self, name: str, only: Iterable[str] | None = None) -> dict[str, Any] | None:
        """The tensors kept under a name, or some of them, in host memory; None if there are not."""
        from safetensors import safe_open

        path = self._tensor_file(name)
        if path is None or not path.is_file():
            return None
        with safe_open(path, framework="pt") as opened:
            if opened.metadata()[_KEY] != digest_json(self._key):
                return None
            names = opened.keys() if only is None else only
            return {key: opened.get_tensor(key) for key in names}

    def find_record_of(self, name: str, kind: type[RecordT]) -> RecordT | None:
        """The record kept with the tensors of that name."""
        from safetensors import safe_open

        path = self._tensor_file(name)
        if path is None or not path.is_file():
            return None
        with safe_open(path, framework="pt") as opened:
            known = opened.metadata()
        if known[_KEY] != digest_json(self._key) or _RECORD not in known:
            return None
        return kind.model_validate_json(known[_RECORD])

    def keep_many(self, name: str, parts: Iterable[Tensors], record: Record) -> None:
        """Keep more tensors than memory need hold, part by part, in place of those of that name."""
        with staged_folder(self.folder / name, replace=True) as staging:
            files = RunFolder(staging, self._key)
            for number, part in enumerate(parts):
                files.keep_tensors(f"{number:05}", part)
            kept = {_KEY: digest_json(self._key), _RECORD: record.model_dump(mode="json")}
            (staging / RUN_FILE).write_text(json.dumps(kept, indent=2) + "\n", "utf-8")

    def find_many(
        self, name: str, kind: type[RecordT]
    ) -> tuple[RecordT, Iterator[dict[str, Any]]] | None:
        """The record of what was kept part by part, and the parts."""
        if self._folder is None or not (self._folder / name / RUN_FILE).is_file():
            return None
        folder = self._folder / name
        known = json.loads((folder / RUN_FILE).read_text("utf-8"))
        if known[_KEY] != digest_json(self._key):
            return None
        files = RunFolder(folder, self._key)
        names = sorted(path.stem for path in folder.glob(f"*{_TENSORS}"))
        parts = (part for each in names if (part := files.find_tensors(each)) is not None)
        return kind.model_validate(known[_RECORD]), parts

    def _tensor_file(self, name: str) -> Path | None:
        """Where tensors of that name lie."""
        return None if self._folder is None else self._folder / f"{name}{_TENSORS}"

    def _metadata(self, record: Record | None) -> dict[str, str]:
        """What stands in a file of tensors beside them."""
        own = {_KEY: digest_json(self._key)}
        return own if record is None else {**own, _RECORD: record.model_dump_json()}

    # records

    def find(self, kind: type[KeyedT], key: dict[str, Any]) -> KeyedT | None:
        """The record kept under this key; a file that can't be read is as good as none."""
        path = self._record_file(kind, key)
        if path is None or not path.is_file():
            return None
        try:
            found = kind.model_validate_json(path.read_bytes())
        except ValidationError:
            return None
        return found if digest_json(found.key) == digest_json(key) else None

    def keep(self, record: KeyedT) -> KeyedT:
        """Write a record whole or not at all, named by its key."""
        path = self._record_file(type(record), record.key)
        if path is not None:
            write_atomically(path, record.model_dump_json(indent=2) + "\n")
        return record

    def _record_file(self, kind: type[KeyedRecord], key: dict[str, Any]) -> Path | None:
        """Where such a record lies."""
        return self._folder and self._folder / f"{kind.kind}-{short_digest(key)}.json"


def short_digest(key: Mapping[str, Any]) -> str:
    """A name for what belongs to that key."""
    return digest_json(key).partition(":")[2][:_NAME_DIGITS]


def _differences(
    begun: Mapping[str, Any], wanted: Mapping[str, Any], under: str = ""
) -> Iterator[tuple[str, Any, Any]]:
    """Yield what differs by its dotted name, with what it was and is."""
    for name in {**begun, **wanted}:
        was, now = begun.get(name), wanted.get(name)
        if isinstance(was, dict) and isinstance(now, dict):
            yield from _differences(was, now, f"{under}{name}.")
        elif was != now:
            yield f"{under}{name}", was, now


def _shown(value: Any) -> str:
    """A value in a message, in a length that can be read."""
    text = str(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def _read(path: Path) -> dict[str, Any]:
    """What the run is; raise `UsageError` if nobody can tell any more."""
    try:
        identity = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise _unreadable(path, str(error)) from error
    if not isinstance(identity, dict):
        raise _unreadable(path, "is no JSON object")
    return identity


def _unreadable(path: Path, reason: str) -> UsageError:
    """Say that a damaged note leaves only one way."""
    return UsageError(
        f"{path}: can't be read ({reason}), so nobody can tell what was begun; say --overwrite "
        "instead of --resume to begin anew."
    )
