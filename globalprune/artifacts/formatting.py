"""Numbers, sizes, names, records and tables as a person reads them: text, Markdown, CSV.

A value is rounded at the first digit of its standard error, at the second where that error begins
with 1. A count is written whole. A name in Markdown is escaped, so it never acts as markup.
"""

import csv
import io
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from globalprune.artifacts.records import TextRecord
from globalprune.artifacts.structure import GroupType
from globalprune.printable import printable

UNKNOWN_DIGITS: Final = 3  # significant ones, of a value without an error
BYTE_UNITS: Final = ("B", "kB", "MB", "GB", "TB")
BYTE_STEP: Final = 1000
GROUP_NAMES: Final[dict[GroupType, str]] = {"attention": "attention groups", "mlp": "mlp channels"}
_ENTITIES: Final = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
_MARKS: Final = re.compile(r"[\\`*\[\]|~!#$]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])")
_LIST: Final = re.compile(r"^(\s*)([-+]|\d+[.)])(?=\s)")  # would begin a list
_NO_CODE: Final = re.compile(r"[`<>|]")  # may not stand in a code span


def decimals_for(error: float) -> int:
    """Return the decimals that an error leaves a value; negative ones round before the point."""
    exponent = math.floor(math.log10(error))
    begins_with_one = error < 2 * 10.0**exponent
    return -exponent + int(begins_with_one)


def format_number(value: float, error: float | None, *, signed: bool = False) -> str:
    """Return the value rounded as its error allows, without the error."""
    if not math.isfinite(value):
        return "beyond any number"
    known = _known(error)
    decimals = _decimals_of_unknown(value) if known is None else decimals_for(known)
    sign = "+" if signed and value >= 0 else ""
    return sign + _rounded(value, decimals)


def format_with_error(value: float, error: float | None, *, signed: bool = False) -> str:
    """Return `25.34 ± 0.12`, or the value alone where there is no error."""
    known = _known(error)
    shown = "" if known is None else f" ± {_rounded(known, decimals_for(known))}"
    return format_number(value, error, signed=signed) + shown


def byte_unit(count: float) -> tuple[float, str]:
    """Return the bytes of the unit that fits a count of bytes, and its name."""
    power = 0
    while abs(count) >= BYTE_STEP ** (power + 1) and power < len(BYTE_UNITS) - 1:
        power += 1
    return float(BYTE_STEP**power), BYTE_UNITS[power]


def format_bytes(count: int) -> str:
    """Return an exact count of bytes in a unit that fits: `269.1 MB`."""
    step, unit = byte_unit(count)
    return f"{count:,} {unit}" if step == 1 else f"{count / step:.1f} {unit}"


def count_of(count: int, one: str, many: str | None = None) -> str:
    """Return `1 layer`, `1,024 layers`; `many` is `one` with an s unless it is given."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def count_of_groups(count: int, kind: GroupType) -> str:
    """Return `1 attention group`, `1,024 mlp channels`."""
    many = GROUP_NAMES[kind]
    return count_of(count, many.removesuffix("s"), many)


def describe_text(text: TextRecord, source: str | None = None) -> str:
    """Return `128 windows of 512 tokens of a.txt, 65,408 predicted tokens, seed 0, BOS first`.

    `source` replaces the text's own name, such as one in Markdown.
    """
    length = "their own length" if text.seq_len is None else f"{text.seq_len:,} tokens"
    stride = "" if text.stride is None else f", stride {text.stride:,}"
    seed = "" if text.seed is None else f", seed {text.seed}"
    bos = ", BOS first" if text.bos else ""
    return (
        f"{count_of(text.samples, 'window')} of {length} of {source or text.source}, "
        f"{text.predicted_tokens:,} predicted tokens{stride}{seed}{bos}"
    )


def describe_model(source: str, revision: str | None) -> str:
    """Return a model's name, with its Hub revision if it has one: `org/model@main`."""
    return source if revision is None else f"{source}@{revision}"


def describe_versions(versions: Mapping[str, str]) -> str:
    """Return `python 3.11, torch 2.6`."""
    return ", ".join(f"{name} {version}" for name, version in versions.items())


def first_few(items: Iterable[str], count: int = 5, separator: str = ", ") -> str:
    """Join the first few of many: `a, b, c and 4 more`."""
    listed = list(items)
    shown = separator.join(listed[:count])
    return shown if len(listed) <= count else f"{shown} and {len(listed) - count} more"


def short_repr(value: object, length: int = 40) -> str:
    """Spell a value as Python does, cut off after `length` characters."""
    text = repr(value)
    return text if len(text) <= length else f"{text[:length]}…"


def escape_markdown(text: str) -> str:
    """Return text on one line as Markdown that shows every character as it is."""
    escaped = re.sub("[&<>]", lambda found: _ENTITIES[found[0]], printable(text))
    return _LIST.sub(r"\1\\\2", _MARKS.sub(lambda found: f"\\{found[0]}", escaped))


def markdown_code(text: str) -> str:
    """Return a name as a code span, or as escaped text where it could end one."""
    shown = printable(text)
    if _NO_CODE.search(shown) or not shown.strip():
        return escape_markdown(shown)
    return f"`{shown}`"


def code_literal(text: str) -> str:
    """Return a name as a Python string in a block of code, without `<` and backticks."""
    escaped = printable(text.replace("\\", "\\\\").replace('"', '\\"'))
    return '"' + escaped.replace("<", "\\x3c").replace("`", "\\x60") + '"'


def csv_text(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return rows under the names of their columns; numbers in full, None as an empty cell."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    return text.getvalue()


def markdown_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Return the lines of a table whose first cells name the rows and whose others are figures.

    Cells are Markdown on one line; a `|` in them is escaped by `escape_markdown`.
    """
    rule = f"| --- |{' ---: |' * (len(head) - 1)}"
    return [_markdown_row(head), rule, *map(_markdown_row, rows)]


def _known(error: float | None) -> float | None:
    """Return the error if a value can be rounded by it."""
    return error if error is not None and math.isfinite(error) and error > 0 else None


def _decimals_of_unknown(value: float) -> int:
    """Return the decimals that leave a value three significant digits."""
    if value == 0:
        return 0
    return UNKNOWN_DIGITS - 1 - math.floor(math.log10(abs(value)))


def _rounded(value: float, decimals: int) -> str:
    """Return the value with so many decimals, commas between thousands, and no negative zero."""
    rounded = round(value, decimals) or 0.0
    return f"{rounded:,.{max(0, decimals)}f}"


def _markdown_row(cells: Sequence[str]) -> str:
    first, *others = cells
    return f"| {first} | {' | '.join(others)} |" if first else f"| | {' | '.join(others)} |"
