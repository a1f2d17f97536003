"""JSON files of unknown origin are read, or refused by name."""

import os
from pathlib import Path

import pytest

from globalprune.errors import CheckpointError
from globalprune.models.sources.plain_files import read_json_object, special_kind

REFUSED = {
    "missing": (None, r"can't be read as JSON \(.*No such file"),
    "cut off": (b'{"a": 1', r"can't be read as JSON \("),
    "no UTF-8": (b'{"a": "\xff"}', r"can't be read as JSON \("),
    "nested": (b"[" * 10**5, r"can't be read as JSON \(brackets within"),
    "a list": (b"[]", "holds no JSON object"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_object_is_refused(tmp_path: Path, name: str) -> None:
    """With the file, and what is wrong with it."""
    content, message = REFUSED[name]
    path = tmp_path / "config.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(CheckpointError, match=rf"^{path}: {message}"):
        read_json_object(path)


def test_a_file_too_large_is_not_read(tmp_path: Path) -> None:
    """A sparse file takes no disk, and would take memory."""
    path = tmp_path / "config.json"
    with path.open("wb") as file:
        file.truncate((1 << 28) + 1)
    with pytest.raises(CheckpointError, match="268,435,457 bytes, too many for such a file"):
        read_json_object(path)


def test_only_a_file_is_opened(tmp_path: Path) -> None:
    """A pipe would be waited for; nothing at all is no special kind."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "file").touch()
    assert special_kind(tmp_path / "pipe") == "a named pipe"
    assert special_kind(tmp_path) == "a folder"
    assert special_kind(Path("/dev/null")) == "a device"
    assert special_kind(tmp_path / "file") is special_kind(tmp_path / "gone") is None
    with pytest.raises(CheckpointError, match="is a named pipe, where a file is needed"):
        read_json_object(tmp_path / "pipe")
