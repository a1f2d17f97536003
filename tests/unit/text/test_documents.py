"""Documents: strings that are text, each known by its digest."""

import hashlib
from collections.abc import Iterable
from pathlib import Path

import pytest
from texts import TABLE_KINDS, write_column, write_lines

from globalprune.errors import TextError
from globalprune.text.builtin import Part
from globalprune.text.documents import Document, open_rows, read_documents
from globalprune.text.rows import Column, Rows
from globalprune.text.source import parse_source

TEXTS = ["first", "", "zweites – ünïcode 𝄞", "third"]


def documents_of(values: Iterable[object]) -> list[Document]:
    """The documents of values that stand in rows 0, 1, …."""
    rows = Rows(
        Column.TEXT, ((f"here, row {n}", {"text": value}) for n, value in enumerate(values))
    )
    return list(read_documents(rows))


@pytest.mark.parametrize("kind", TABLE_KINDS)
def test_every_kind_of_file_gives_the_same_documents(tmp_path: Path, kind: str) -> None:
    """Texts and digests don't depend on how the rows are stored."""
    path = write_column(tmp_path, kind, "text", TEXTS)
    rows = open_rows(parse_source(str(path)), Part.CALIBRATION, shuffle_seed=0)
    assert list(read_documents(rows)) == documents_of(TEXTS)


def test_a_digest_is_that_of_the_utf_8_bytes() -> None:
    """Anyone can compute it, and a document is known again wherever it was read."""
    (document,) = documents_of(["ünïcode"])
    expected = hashlib.sha256("ünïcode".encode()).hexdigest()
    assert document == Document("ünïcode", f"sha256:{expected}")


def test_empty_documents_are_passed_over() -> None:
    """They hold no token; a space is text."""
    assert [document.text for document in documents_of(["", "a", "", " "])] == ["a", " "]


@pytest.mark.parametrize(
    ("value", "found"),
    [(None, "null"), (3, "a int"), (["a"], "a list"), ({"a": 1}, "a dict"), (b"a", "a bytes")],
    ids=["null", "number", "list", "object", "bytes"],
)
def test_what_is_no_string_is_refused_with_its_row(value: object, found: str) -> None:
    """A list of sentences is not joined by guess, nor bytes decoded."""
    with pytest.raises(
        TextError, match=rf"^here, row 1: `text` is {found}, not a string; drop or mend that row"
    ):
        documents_of(["good", value])


@pytest.mark.parametrize("half", [0xD83D, 0xDE00], ids=["high", "low"])
def test_half_a_surrogate_pair_is_refused_with_its_place(tmp_path: Path, half: int) -> None:
    """JSON can spell it and a tokenizer would crash on it; a whole pair is text."""
    path = write_lines(tmp_path / "a.jsonl", [{"text": "😀"}, {"text": f"abc{chr(half)} d"}])
    assert "\\ud83d\\ude00" in path.read_text()
    rows = open_rows(parse_source(str(path)), Part.CALIBRATION, shuffle_seed=None)
    with pytest.raises(
        TextError, match=r"a\.jsonl, line 2: holds half a surrogate pair at character 3, which"
    ):
        list(read_documents(rows))
