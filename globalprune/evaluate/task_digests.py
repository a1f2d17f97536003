"""Digests of what a task asks: the same wherever its files lie and whoever asks."""

from pathlib import Path
from typing import Any, Final

from globalprune.artifacts.evaluations.evaluation import TaskSettings
from globalprune.artifacts.records import digest_bytes, digest_json

_CODE: Final = (".py", ".yaml", ".yml", ".jinja")


def documents_digest(task: Any, limit: int | None) -> str:
    """The digest of the documents that will be asked, in order."""
    return digest_json([_plain(document) for _, document in task.doc_iterator(limit=limit)])


def config_digest(task: Any) -> str:
    """The digest of the task's definition, wherever its file lies."""
    config = dict(task.dump_config())
    config["metadata"] = {
        key: value
        for key, value in dict(config.get("metadata") or {}).items()
        if key != "config_source"
    }
    return digest_json(_plain(config))


def code_digests(settings: TaskSettings) -> dict[str, str]:
    """The digests of functions and templates beside tasks of one's own, which definitions name."""
    own = [Path(name).expanduser() for name in settings.names]
    beside = {path for name in own if name.is_file() for path in name.resolve().parent.iterdir()}
    if settings.include_path is not None:
        beside |= {*Path(settings.include_path).expanduser().resolve().rglob("*")}
    return {
        f"{path.parent.name}/{path.name}": digest_bytes(path.read_bytes())
        for path in sorted(beside)
        if path.suffix in _CODE and path.is_file()
    }


def _plain(value: Any) -> Any:
    """A value as JSON can spell it; what it can't is named by its type, never by its address."""
    if isinstance(value, dict):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return value if isinstance(value, str | int | float | None) else type(value).__name__
