"""Where a file came from: digests, and the versions of the tools that made it."""

import hashlib
import json
import platform
from importlib import metadata
from typing import Any

PREFIX = "sha256:"
RECORDED_TOOLS = ("globalprune", "torch", "transformers", "datasets", "tokenizers", "pyarrow")
OWN_FOLDER = "globalprune"


def digest_bytes(*parts: bytes | memoryview) -> str:
    """`sha256:…` of the parts, one after the other."""
    state = hashlib.sha256()
    for part in parts:
        state.update(part)
    return PREFIX + state.hexdigest()


def digest_json(value: Any) -> str:
    """`sha256:…` of a JSON value in its one canonical spelling."""
    canonical = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return digest_bytes(canonical.encode())


def tool_versions(*more: str) -> dict[str, str]:
    """The versions of Python and of the libraries that can change a figure, and of `more`."""
    versions = {"python": platform.python_version()}
    for name in (*RECORDED_TOOLS, *more):
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions
