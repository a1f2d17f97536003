"""RunFolder: where long work saves what it has, under names, until its result takes its place.

`run.json` holds all that decides the outcome of a run, so a folder is only resumed by the same
work. Tensors and records in it carry the digest of a key: those saved under another one are absent.
"""

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, TypeVar

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
RecordT = TypeVar("RecordT", bound=Record)


class RunFolder:
    """A folder of saved work; without a folder nothing is saved or loaded."""

    def __init__(self, folder: Path | None, key: Mapping[str, Any] | None = None) -> None:
        self._folder = folder
        self._key = dict(key or {})

    @classmethod
    def beside(cls, out: Path) -> "RunFolder":
        """Return the folder of the run whose result will be `out`: `out.unfinished`."""
        place = out.resolve()
        return cls(place.with_name(place.name + _SUFFIX))

    def subfolder(self, name: str) -> "RunFolder":
        """Return a folder in this one, for a part of the same run."""
        return RunFolder(self._folder and self._folder / name, self._key)

    def with_key(self, more: Mapping[str, Any]) -> "RunFolder":
        """Return the same folder for what depends on `more`, too."""
        return RunFolder(self._folder, {**self._key, **more})

    @property
    def folder(self) -> Path:
        """Return its path; raise `ValueError` where nothing is saved."""
        if self._folder is None:
            raise ValueError("nothing is saved here")
        return self._folder

    @property
    def key_name(self) -> str:
        """Return the hexadecimal digits that identify the key in names of files and folders."""
        return digest_json(self._key).partition(":")[2][:_NAME_DIGITS]

    # the run as a whole

    @property
    def exists(self) -> bool:
        """Return whether the folder holds a run of gp."""
        return self._folder is not None and (self._folder / RUN_FILE).is_file()

    def refuse_unfinished(self, *, resume: bool, overwrite: bool) -> None:
        """Raise `UsageError` for an unfinished run, unless it is to be resumed or overwritten.

        A folder of that name without a run of gp is a person's, and is never touched.
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
                f"{self.folder}: holds a run that was stopped; say --resume to continue it, or "
                "--overwrite to start again."
            )

    def begin(self, identity: Mapping[str, Any], *, resume: bool) -> None:
        """Make the folder for this run, or resume in it.

        Raises:
            UsageError: the run that is to be resumed has another identity.
        """
        self._key["run"] = digest_json(identity)
        if resume and self.folder.exists():
            self._refuse_other(identity)
            self._recover_stage()
            return
        with staged_folder(self.folder, replace=True) as staging:
            text = json.dumps(identity, indent=2) + "\n"
            (staging / RUN_FILE).write_text(text, encoding="utf-8")

    @contextmanager
    def removed_if_empty(self) -> Iterator[None]:
        """Remove the folder if the block fails before anything is saved in it."""
        try:
            yield
        except BaseException:
            files = [path for path in self.folder.rglob("*") if path.is_file()]
            if all(path.name == RUN_FILE for path in files):
                self.remove()
            raise

    def remove(self) -> None:
        """Remove the folder, once its result is in place; one without a run of gp stays."""
        if self.exists:
            remove_folder(self.folder)

    def hand_over(self, stage: str, target: Path, *, replace: bool) -> None:
        """Move the folder of a finished stage to `target`.

        If the run is killed in that moment, resuming it finds the stage again, and never what lay
        at `target` before.
        """
        folder = self.folder / stage
        moving = {"stage": stage, "target": str(target), "inode": folder.stat().st_ino}
        write_atomically(self.folder / _MOVING, json.dumps(moving) + "\n")
        move_into_place(folder, target, replace=replace)

    def _recover_stage(self) -> None:
        """Bring back a stage that was handed over when the run was killed."""
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
        """Raise `UsageError` where the saved run has another identity, and say what differs."""
        path = self.folder / RUN_FILE
        earlier = _read_identity(path)
        now = json.loads(json.dumps(identity))  # as it would be read again
        differing = list(_differences(earlier, now))
        if differing:
            text = "; ".join(
                f"{name} was {_shortened(before)}, is {_shortened(after)}"
                for name, before, after in differing
            )
            raise UsageError(
                f"{path}: can't be resumed, since another run was started ({text}); repeat its "
                "command, or say --overwrite instead of --resume to start again."
            )

    # tensors

    def save_tensors(self, name: str, tensors: Tensors, record: Record | None = None) -> None:
        """Save tensors under a name, bit for bit, all or none; a record with them."""
        from safetensors.torch import save_file

        path = self._tensor_file(name)
        if path is not None:
            plain = {key: tensor.cpu().contiguous() for key, tensor in tensors.items()}
            metadata = {_KEY: digest_json(self._key)}
            if record is not None:
                metadata[_RECORD] = record.model_dump_json()
            with temporary_file(path) as temporary:
                save_file(plain, os.fspath(temporary), metadata=metadata)

    def load_tensors(self, name: str, only: Iterable[str] | None = None) -> dict[str, Any] | None:
        """Return the tensors of a name, all or `only` some, in host memory; None if absent."""
        from safetensors import safe_open

        path = self._tensor_file(name)
        if path is None or not path.is_file():
            return None
        with safe_open(path, framework="pt") as opened:
            if opened.metadata()[_KEY] != digest_json(self._key):
                return None
            names = opened.keys() if only is None else only
            return {key: opened.get_tensor(key) for key in names}

    def load_record_of(self, name: str, kind: type[RecordT]) -> RecordT | None:
        """Return the record saved with the tensors of that name; None if absent."""
        from safetensors import safe_open

        path = self._tensor_file(name)
        if path is None or not path.is_file():
            return None
        with safe_open(path, framework="pt") as opened:
            metadata = opened.metadata()
        if metadata[_KEY] != digest_json(self._key) or _RECORD not in metadata:
            return None
        return kind.model_validate_json(metadata[_RECORD])

    def save_parts(self, name: str, parts: Iterable[Tensors], record: Record) -> None:
        """Save tensors part by part, so that memory holds one part, in place of earlier ones."""
        if self._folder is None:
            return
        with staged_folder(self._folder / name, replace=True) as staging:
            files = RunFolder(staging, self._key)
            for number, part in enumerate(parts):
                files.save_tensors(f"{number:05}", part)
            content = {_KEY: digest_json(self._key), _RECORD: record.model_dump(mode="json")}
            (staging / RUN_FILE).write_text(json.dumps(content, indent=2) + "\n", "utf-8")

    def load_parts(
        self, name: str, kind: type[RecordT]
    ) -> tuple[RecordT, Iterator[dict[str, Any]]] | None:
        """Return the record of tensors that were saved in parts, and the parts; None if absent."""
        if self._folder is None or not (self._folder / name / RUN_FILE).is_file():
            return None
        folder = self._folder / name
        content = json.loads((folder / RUN_FILE).read_text("utf-8"))
        if content[_KEY] != digest_json(self._key):
            return None
        files = RunFolder(folder, self._key)
        names = sorted(path.stem for path in folder.glob(f"*{_TENSORS}"))
        parts = (part for each in names if (part := files.load_tensors(each)) is not None)
        return kind.model_validate(content[_RECORD]), parts

    def _tensor_file(self, name: str) -> Path | None:
        return None if self._folder is None else self._folder / f"{name}{_TENSORS}"

    # records

    def save_record(self, name: str, record: RecordT) -> RecordT:
        """Save a record under a name and the key, whole or not at all, and return it."""
        path = self._record_file(name)
        if path is not None:
            content = {_KEY: self._key, **record.model_dump(mode="json")}
            write_atomically(path, json.dumps(content, indent=2) + "\n")
        return record

    def load_record(self, name: str, kind: type[RecordT]) -> RecordT | None:
        """Return the record of that name and key; None if absent or unreadable."""
        path = self._record_file(name)
        if path is None or not path.is_file():
            return None
        try:
            content = json.loads(path.read_bytes())
            key = content.pop(_KEY)
            record = kind.model_validate(content)
        except (ValidationError, ValueError, AttributeError, KeyError, TypeError):
            return None
        return record if digest_json(key) == digest_json(self._key) else None

    def _record_file(self, name: str) -> Path | None:
        return self._folder and self._folder / f"{name}-{self.key_name}.json"


def _read_identity(path: Path) -> dict[str, Any]:
    """Read the identity of a run; raise `UsageError` where the file is damaged."""
    try:
        identity = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise _unreadable(path, str(error)) from error
    if not isinstance(identity, dict):
        raise _unreadable(path, "is no JSON object")
    return identity


def _unreadable(path: Path, reason: str) -> UsageError:
    return UsageError(
        f"{path}: can't be read ({reason}), so its run is unknown; say --overwrite "
        "instead of --resume to start again."
    )


def _differences(
    earlier: Mapping[str, Any], now: Mapping[str, Any], prefix: str = ""
) -> Iterator[tuple[str, Any, Any]]:
    """Yield the dotted name of each value that differs, with what it was and is."""
    for name in {**earlier, **now}:
        before, after = earlier.get(name), now.get(name)
        if isinstance(before, dict) and isinstance(after, dict):
            yield from _differences(before, after, f"{prefix}{name}.")
        elif before != after:
            yield f"{prefix}{name}", before, after


def _shortened(value: Any) -> str:
    """Return a value as text that a message can hold."""
    text = str(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
