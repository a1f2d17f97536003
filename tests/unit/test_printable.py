"""Text of others: shown letter by letter, and nothing in it acts on a terminal or a page."""

import json

import pytest

from globalprune.artifacts.records import Record
from globalprune.printable import printable, printable_json, printable_lines, printable_message


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[31mEVIL\x07", r"\x1b[31mEVIL\x07"),
        ("a\r\nb\u2028c\x85", r"a\r\nb\u2028c\x85"),
        ("abc\u202egnp.exe\u2066", r"abc\u202egnp.exe\u2066"),
        ("m\udcff", r"m\xff"),
        ("\ufeffx\u200b\U000e0041", r"\ufeffx\u200b\U000e0041"),
        (
            "größe 模型 نموذج 👩\u200d🔬 e\u0301\u00a0%",
            "größe 模型 نموذج 👩\u200d🔬 e\u0301\u00a0%",
        ),
    ],
)
def test_what_acts_is_spelled_and_letters_stay(text: str, shown: str) -> None:
    """Once and for all: what was spelled is not spelled again."""
    assert printable(text) == shown
    assert printable(shown) == shown


def test_no_line_of_a_message_passes_for_another_message() -> None:
    """Line breaks of ours stay, and what follows one begins with a space."""
    assert printable_lines("a\nb\x1b") == "a\nb\\x1b"
    assert printable_message("x\ngp: all is well\n  y") == "x\n  gp: all is well\n  y"


def test_json_keeps_its_values() -> None:
    """Only the spelling changes, beyond the first plane too."""
    value = {"a\u202e": ["\x9b2J", "\U000e0041é", "\udcff"], "b": 1}
    text = printable_json(json.dumps(value, indent=2, ensure_ascii=False))

    assert json.loads(text) == value
    assert all(line.isprintable() for line in text.splitlines())


class _Note(Record):
    source: str
    versions: dict[str, str]
    command: tuple[str, ...] = ()


def test_strings_of_records_never_act() -> None:
    """Whether a person wrote the file or gp did; a command's arguments stay as they are."""
    note = _Note.model_validate_json(
        json.dumps({"source": "m\x1b]0;x\x07\n", "versions": {"a\n": "\x1b"}, "command": ["a\nb"]})
    )

    assert note.source == r"m\x1b]0;x\x07\n"
    assert note.versions == {r"a\n": r"\x1b"}
    assert note.command == ("a\nb",)
    assert _Note.model_validate_json(note.model_dump_json()) == note
