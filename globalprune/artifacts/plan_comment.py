"""The comment at the top of a plan: written, found again, and told from a person's own.

It begins with who decided ("as generated: …") and ends with a line that says how to refresh it.
"""

import re
from collections.abc import Sequence
from pathlib import Path

from globalprune.artifacts.disk import write_atomically
from globalprune.artifacts.json_schemas import PLAN_SCHEMA_FILE

SCHEMA_LINE = f"# yaml-language-server: $schema=./{PLAN_SCHEMA_FILE}"
_STARTS = ("# as generated: ", "# as edited: ", "# as written: ")
_CONTINUES = "#   "
_LAST = "`gp check --write` refreshes these lines after an edit"
_QUOTED = re.compile(r"\"(?:\\.|[^\"\\])*\"|'[^']*'")
_COMMENT = re.compile(r"(?:^|\s)#", re.MULTILINE)


def comment_lines(header: Sequence[str]) -> list[str]:
    """The header as comments that are known again by their first and last words."""
    first, *more = header
    return [f"# {first}", *(_CONTINUES + line for line in (*more, _LAST))]


def refresh_header(path: Path, header: Sequence[str]) -> None:
    """Replace the generated comment lines; every other byte of the file stays as it is."""
    text = path.read_bytes().decode("utf-8")
    mark = "\ufeff" if text.startswith("\ufeff") else ""
    lines = text.removeprefix(mark).splitlines(keepends=True)
    newline = "\r\n" if lines and lines[0].endswith("\r\n") else "\n"
    start, end = _generated_lines(lines)
    fresh = [line + newline for line in comment_lines(header)]
    write_atomically(path, "".join([mark, *lines[:start], *fresh, *lines[end:]]).encode("utf-8"))


def has_comments(path: Path) -> bool:
    """Whether a person wrote comments of their own."""
    lines = path.read_text("utf-8-sig").splitlines()
    start, end = _generated_lines(lines)
    others = "\n".join(line for line in lines[:start] + lines[end:] if line != SCHEMA_LINE)
    return _COMMENT.search(_QUOTED.sub("", others)) is not None


def _generated_lines(lines: Sequence[str]) -> tuple[int, int]:
    """Find (first, end) of the generated comment, or the empty place where it belongs."""
    for start, line in enumerate(lines):
        if line.strip() and not line.startswith("#"):
            break
        if line.startswith(_STARTS):
            for end in range(start + 1, len(lines)):
                if lines[end].rstrip() == _CONTINUES + _LAST:
                    return start, end + 1
                if not lines[end].startswith(_CONTINUES):
                    return start, end
            return start, len(lines)
    after = 1 if lines and "yaml-language-server" in lines[0] else 0
    return after, after
