"""Which format a file of ours says it is of; any other than the one read here is refused by name.

That is judged before anything else in the file: the keys of another format are no mistakes. No
format that was ever released has a successor, so nothing is migrated.
"""

from collections.abc import Mapping
from typing import Any


def format_problem(content: Mapping[Any, Any], reads: str, again: str) -> str | None:
    """What is wrong with the format that a file names, and what to do; None where nothing is.

    `reads` is the one that is read, `again` says how the file is made anew.
    """
    said = content.get("format")
    if said == reads:
        return None
    if said is None:
        return f"names no format; add `format: {reads}` if it is of that one, or {again}."
    kind, _, version = str(said).rpartition("/")
    if kind == reads.rpartition("/")[0] and version.isdigit():
        ours = f"is of format {said}, this globalprune reads {reads}"
        return f"{ours}; install the globalprune that wrote it, or {again}."
    return f"is of format {said}, which is not {reads}; name another file, or {again}."
