r"""Text from elsewhere made safe to show: what a terminal or a page would act on is escaped.

Names, plans, records and the errors of libraries can hold escape sequences, marks that turn the
direction of writing, line breaks, and bytes that are no text. Each such character becomes its
escape, `\x1b` or `\u202e`, as Python spells it. Letters, marks and emoji of every script stay.
"""

import re
import unicodedata
from typing import Any, Final

_ACTING: Final = frozenset(("Cc", "Cf", "Cs", "Zl", "Zp"))  # Unicode's general categories
_JOINERS: Final = "\u200c\u200d"  # of Persian, of Indic scripts and of emoji: they only shape
_BYTES: Final = range(0xDC80, 0xDD00)  # how Python holds a byte of a file name that is no text
_FIRST_PLANE: Final = 0x10000  # characters below have one escape in JSON
_LEADS: Final = "  "  # what a later line of one message begins with


def printable(text: str, *, keep: str = "") -> str:
    """Return the text on one line, its control characters escaped except those in `keep`.

    Applied again, it changes nothing.
    """
    if text.isprintable():
        return text
    return "".join(c if c in keep or not _acts(c) else _escape(c) for c in text)


def printable_lines(text: str) -> str:
    """Return the text with its line breaks, all other control characters escaped."""
    return printable(text, keep="\n")


def printable_message(text: str) -> str:
    """Return a message whose lines after the first are indented.

    So no name in it can pass for a message of its own.
    """
    first, *others = printable_lines(text).split("\n")
    return "\n".join([first, *(_indented(line) for line in others)])


def printable_json(text: str) -> str:
    r"""Return a JSON document with control characters escaped; it reads as the same values."""
    if all(line.isprintable() for line in text.split("\n")):
        return text
    return re.sub(r"[^\n -~]", lambda match: _in_json(match[0]), text)


def printable_value(value: Any) -> Any:
    """Return a string, or a list or mapping, with every string in it printable."""
    match value:
        case str():
            return printable(value)
        case list():
            return list(map(_printable_item, value))
        case tuple():
            return tuple(map(_printable_item, value))
        case dict():
            return {_printable_item(name): _printable_item(part) for name, part in value.items()}
        case _:
            return value


def _printable_item(item: Any) -> Any:
    return printable(item) if isinstance(item, str) else item


def _indented(line: str) -> str:
    return line if not line or line.startswith(_LEADS) else _LEADS + line


def _acts(character: str) -> bool:
    """Return whether showing the character may act on a terminal or a page."""
    return unicodedata.category(character) in _ACTING and character not in _JOINERS


def _escape(character: str) -> str:
    r"""Return `\n`, `\x1b` or `\u202e`; `\xff` for a byte that is no text."""
    code = ord(character)
    if code in _BYTES:
        return f"\\x{code - 0xDC00:02x}"
    return character.encode("unicode_escape").decode("ascii")


def _in_json(character: str) -> str:
    """Return the character's escape in a JSON string; two beyond the first plane."""
    if not _acts(character):
        return character
    code = ord(character)
    if code < _FIRST_PLANE:
        return f"\\u{code:04x}"
    high, low = divmod(code - _FIRST_PLANE, 0x400)
    return f"\\u{0xD800 + high:04x}\\u{0xDC00 + low:04x}"
