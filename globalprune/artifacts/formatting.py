"""Numbers, sizes, names and records as a person reads them, in text and in Markdown.

A value is rounded at the first digit of its standard error, at the second where that error begins
with 1. A count is written whole. A name in Markdown is escaped, so it never acts as markup.
"""

import math
import re
from collections.abc import Iterable
from typing import Final

from globalprune.printable import printable

UNKNOWN_DIGITS: Final = 3  # significant ones, where nothing is known of the noise
BYTE_UNITS: Final = ("B", "kB", "MB", "GB", "TB")
BYTE_STEP: Final = 1000


def decimals_for(error: float) -> int:
    """The decimals that an error leaves a value; negative ones round before the point."""
    exponent = math.floor(math.log10(error))
    begins_with_one = error < 2 * 10.0**exponent
    return -exponent + int(begins_with_one)


def format_number(value: float, error: float | None, *, signed: bool = False) -> str:
    """The value as far as its error allows, without the error."""
    if not math.isfinite(value):
        return "beyond any number"
    known = _known(error)
    decimals = _decimals_of_unknown(value) if known is None else decimals_for(known)
    sign = "+" if signed and value >= 0 else ""
    return sign + _rounded(value, decimals)


def format_with_error(value: float, error: float | None, *, signed: bool = False) -> str:
    """`25.34 ± 0.12`; the value alone where there is no error to show."""
    known = _known(error)
    shown = "" if known is None else f" ± {_rounded(known, decimals_for(known))}"
    return format_number(value, error, signed=signed) + shown


def byte_unit(count: float) -> tuple[float, str]:
    """The unit that fits a count of bytes, and how many bytes it is."""
    power = 0
    while abs(count) >= BYTE_STEP ** (power + 1) and power < len(BYTE_UNITS) - 1:
        power += 1
    return float(BYTE_STEP**power), BYTE_UNITS[power]


def format_bytes(count: int) -> str:
    """An exact count of bytes, with a unit that fits: `269.1 MB`."""
    step, unit = byte_unit(count)
    return f"{count:,} {unit}" if step == 1 else f"{count / step:.1f} {unit}"


def first_few(items: Iterable[str], count: int = 5, separator: str = ", ") -> str:
    """Join the first few of many: `a, b, c and 4 more`."""
    listed = list(items)
    shown = separator.join(listed[:count])
    return shown if len(listed) <= count else f"{shown} and {len(listed) - count} more"


def short_repr(value: object, length: int = 40) -> str:
    """Spell a value as Python does, cut off after `length` characters."""
    text = repr(value)
    return text if len(text) <= length else f"{text[:length]}…"


def _known(error: float | None) -> float | None:
    """The error, if it is a size that digits can be cut by."""
    return error if error is not None and math.isfinite(error) and error > 0 else None


def _decimals_of_unknown(value: float) -> int:
    """The decimals that leave a value three significant digits."""
    if value == 0:
        return 0
    return UNKNOWN_DIGITS - 1 - math.floor(math.log10(abs(value)))


def _rounded(value: float, decimals: int) -> str:
    """The value with so many decimals and commas between thousands; never a negative zero."""
    rounded = round(value, decimals) or 0.0
    return f"{rounded:,.{max(0, decimals)}f}"


_ENTITIES: Final = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
_MARKS: Final = re.compile(r"[\\`*\[\]|~!#$]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])")
_LIST: Final = re.compile(r"^(\s*)([-+]|\d+[.)])(?=\s)")  # what would begin a list at a line's head
_NO_CODE: Final = re.compile(r"[`<>|]")  # what a code span may not hold, wherever it stands


def escape_markdown(text: str) -> str:
    """Text on one line whose every character is shown as it is."""
    escaped = re.sub("[&<>]", lambda found: _ENTITIES[found[0]], printable(text))
    return _LIST.sub(r"\1\\\2", _MARKS.sub(lambda found: f"\\{found[0]}", escaped))


def markdown_code(text: str) -> str:
    """A name as a code span; as plain text where it holds what could end one."""
    shown = printable(text)
    if _NO_CODE.search(shown) or not shown.strip():
        return escape_markdown(shown)
    return f"`{shown}`"


def code_literal(text: str) -> str:
    """A name as Python text in a block of code, without what HTML begins with."""
    escaped = printable(text.replace("\\", "\\\\").replace('"', '\\"'))
    return '"' + escaped.replace("<", "\\x3c").replace("`", "\\x60") + '"'
