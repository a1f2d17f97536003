"""Names of others in Markdown: shown letter by letter, never read as markup, links or HTML."""

import re
from typing import Final

from globalprune.printable import printable

_ENTITIES: Final = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
_MARKS: Final = re.compile(r"[\\`*\[\]|~!#$]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])")
_LIST: Final = re.compile(r"^(\s*)([-+]|\d+[.)])(?=\s)")  # what would begin a list at a line's head
_NO_CODE: Final = re.compile(r"[`<>|]")  # what a code span may not hold, wherever it stands


def plain(text: str) -> str:
    """Text on one line whose every character is shown as it is."""
    escaped = re.sub("[&<>]", lambda found: _ENTITIES[found[0]], printable(text))
    return _LIST.sub(r"\1\\\2", _MARKS.sub(lambda found: f"\\{found[0]}", escaped))


def code(text: str) -> str:
    """A name as a code span; as plain text where it holds what could end one."""
    shown = printable(text)
    if _NO_CODE.search(shown) or not shown.strip():
        return plain(shown)
    return f"`{shown}`"


def string_literal(text: str) -> str:
    """A name as Python text in a block of code, without what HTML begins with."""
    escaped = printable(text.replace("\\", "\\\\").replace('"', '\\"'))
    return '"' + escaped.replace("<", "\\x3c").replace("`", "\\x60") + '"'
