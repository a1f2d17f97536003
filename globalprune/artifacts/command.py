"""A command as records keep it: the list of its arguments, quoted only where it is shown.

A call from Python has an empty one. Older records hold one string of quoted arguments.
"""

import re
import shlex
from collections.abc import Iterable, Sequence
from typing import Annotated, Any, Final

from pydantic import BeforeValidator

from globalprune.printable import printable

_SURROGATES: Final = 0xD800  # the first of them
_MARKUP: Final = re.compile(r"[<`]")


def _arguments(value: Any) -> Any:
    """Take the text of an older record apart; spell bytes that are no text."""
    parts = shlex.split(value) if isinstance(value, str) else value
    if not isinstance(parts, list | tuple):
        return value
    return tuple(_encodable(part) if isinstance(part, str) else part for part in parts)


Command = Annotated[
    tuple[str, ...], BeforeValidator(_arguments, json_schema_input_type=tuple[str, ...] | str)
]


def format_command(command: Iterable[str]) -> str:
    r"""One line that a shell reads as these arguments.

    An argument with a line break, with another character that acts on a terminal, or with one that
    begins markup stands in the quotes of bash that know escapes: `$'a\nb'`.
    """
    return " ".join(map(_spelled, command))


def with_plan(command: Sequence[str], plan: str) -> tuple[str, ...]:
    """The command with `plan` for what it says after `--plan`."""
    option, changed = "--plan", [*command]
    for place, argument in enumerate(command):
        if argument == option:
            changed[place + 1 : place + 2] = [plan]
        elif argument.startswith(f"{option}="):
            changed[place : place + 1] = [option, plan]
    return tuple(changed)


def _encodable(argument: str) -> str:
    """The argument without a lone surrogate, which no JSON file can hold."""
    try:
        argument.encode()
    except UnicodeEncodeError:
        return "".join(
            c if c.isprintable() or ord(c) < _SURROGATES else printable(c) for c in argument
        )
    return argument


def _spelled(argument: str) -> str:
    """One argument for a shell."""
    if printable(argument) == argument and not _MARKUP.search(argument):
        return shlex.quote(argument)
    escaped = printable(argument.replace("\\", "\\\\").replace("'", "\\'"))
    escaped = _MARKUP.sub(lambda found: f"\\x{ord(found[0]):02x}", escaped)
    return f"$'{escaped}'"
