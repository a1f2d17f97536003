"""Digests of what a task asks: the same wherever its files lie and whoever asks."""

from typing import Any

from globalprune.artifacts.provenance import digest_json


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


def _plain(value: Any) -> Any:
    """A value as JSON can spell it; what it can't is named by its type, never by its address."""
    if isinstance(value, dict):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return value if isinstance(value, str | int | float | None) else type(value).__name__
