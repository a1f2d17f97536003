"""config.json as it stands, refused where nothing can be made of it."""

import json
from pathlib import Path
from typing import Any

from globalprune.errors import CheckpointError
from globalprune.models.checkpoints.quantisation import refuse_quantised


def read_config(path: Path) -> dict[str, Any]:
    """Read a config.json; raise `CheckpointError` for a broken one, and for quantised weights."""
    again = "download or save the model again."
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path}: can't be read as JSON ({error}); {again}") from error
    if not isinstance(config, dict):
        raise CheckpointError(f"{path}: holds no JSON object; {again}")
    refuse_quantised(config, path)
    return config
