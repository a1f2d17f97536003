"""The comment at the top of a plan: written, found again, and told from a person's own.

It begins with who decided ("as generated: …") and ends with a line that says how to refresh it.
Its lines are known by the words that `planning.header` begins them with.
"""

import re
from collections.abc import Sequence
from pathlib import Path

from globalprune.artifacts.disk import write_atomically
from globalprune.artifacts.json_schemas import PLAN_SCHEMA_FILE

SCHEMA_LINE = f"# yaml-language-server: $schema=./{PLAN_SCHEMA_FILE}"
_CONTINUES = "#   "
_LAST = "`gp check --write` refreshes these lines after an edit"
_GENERATED = re.compile(  # a line of ours, by its first words; whatever else stands there is not
    r"# as (generated|edited|written): removes "
    r"|#   (leaves (at most )?[\d,]+ (parameters|bytes of|FLOPs a)|importance lost: "
    r"|doubted: the plan of |keeps \S+ %; any (cut as large|plan of) "
    rf"|any (cut as large|plan of this size) |{re.escape(_LAST)})"
)
_QUOTED = r"""(?<![^\s\[{,:])(?:"(?:\\.|[^"\\])*"|'(?:[^']|'')*')"""  # where a value begins
_COMMENT = re.compile(rf"{_QUOTED}|(?:^|\s)(#)", re.MULTILINE)


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
    ours = _generated_lines(lines)
    place = ours[0] if ours else _place(lines)
    fresh = [line + newline for line in comment_lines(header)]
    others = [line for at, line in enumerate(lines) if at not in ours]
    text = "".join([mark, *others[:place], *fresh, *others[place:]])
    write_atomically(path, text.encode("utf-8"))


def has_comments(path: Path) -> bool:
    """Whether a person wrote comments of their own."""
    lines = path.read_text("utf-8-sig").splitlines()
    ours = _generated_lines(lines)
    others = [line for at, line in enumerate(lines) if at not in ours and line != SCHEMA_LINE]
    return any(found[1] for found in _COMMENT.finditer("\n".join(others)))


def _generated_lines(lines: Sequence[str]) -> list[int]:
    """Find the lines of the generated comment; a person's may stand among them."""
    found = []
    for at, line in enumerate(lines):
        if line.strip() and not line.lstrip().startswith(("#", "---")):
            break
        if _GENERATED.match(line):
            found.append(at)
        if line.rstrip() == _CONTINUES + _LAST:
            break
    return found


def _place(lines: Sequence[str]) -> int:
    """Where the generated comment belongs that a person took out."""
    return 1 if lines and "yaml-language-server" in lines[0] else 0
