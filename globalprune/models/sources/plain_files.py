"""Small JSON files that others wrote, read without harm: no pipe, no device, no endless nesting."""

import json
import stat
from pathlib import Path
from typing import Any, Final

from globalprune.errors import CheckpointError

_AGAIN: Final = "download or save the model again."
_LARGEST: Final = 1 << 28  # bytes; an index of a million tensors is smaller
_KINDS: Final = (
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
    (stat.S_ISDIR, "a folder"),
)


def special_kind(path: Path) -> str | None:
    """What stands there in place of a file, in words; None for a file, and for nothing."""
    try:
        mode = path.stat().st_mode
    except OSError:
        return None
    return next((name for is_kind, name in _KINDS if is_kind(mode)), None)


def refuse_special(path: Path) -> None:
    """Raise `CheckpointError` for what would have to be a file, and reading it could never end."""
    if kind := special_kind(path):
        raise CheckpointError(f"{path}: is {kind}, where a file is needed; {_AGAIN}")


def read_json_object(path: Path) -> dict[str, Any]:
    """Read a file that holds one JSON object; raise `CheckpointError` for anything else."""
    refuse_special(path)
    try:
        if path.stat().st_size > _LARGEST:
            raise CheckpointError(
                f"{path}: has {path.stat().st_size:,} bytes, too many for such a file; {_AGAIN}"
            )
        content = json.loads(path.read_text(encoding="utf-8"))
    except RecursionError as error:
        raise CheckpointError(
            f"{path}: can't be read as JSON (brackets within brackets, too deep); {_AGAIN}"
        ) from error
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path}: can't be read as JSON ({error}); {_AGAIN}") from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{path}: holds no JSON object; {_AGAIN}")
    return content
