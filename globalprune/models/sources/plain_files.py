"""Small JSON files of unknown origin, read safely: no pipe, no device, no endless nesting."""

import json
import stat
from pathlib import Path
from typing import Any, Final

from globalprune.errors import CheckpointError

_AGAIN: Final = "download or save the model again."
_MAX_BYTES: Final = 1 << 28  # an index of a million tensors is smaller
_SPECIAL_KINDS: Final = (
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
    (stat.S_ISDIR, "a folder"),
)


def read_json_object(path: Path) -> dict[str, Any]:
    """Read a file that holds one JSON object; raise `CheckpointError` for anything else."""
    refuse_special(path)
    try:
        if path.stat().st_size > _MAX_BYTES:
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


def refuse_special(path: Path) -> None:
    """Raise `CheckpointError` where a pipe, a device or a folder is in the place of a file."""
    if kind := special_kind(path):
        raise CheckpointError(f"{path}: is {kind}, where a file is needed; {_AGAIN}")


def special_kind(path: Path) -> str | None:
    """Return what is in the place of a file, in words; None for a file, or where nothing is."""
    try:
        mode = path.stat().st_mode
    except OSError:
        return None
    return next((name for is_kind, name in _SPECIAL_KINDS if is_kind(mode)), None)
