"""Local .txt and .jsonl files, and folders of any files, as rows."""

from pathlib import Path

import pytest
from text_files import column_values, located_values, write_column, write_lines

from globalprune.errors import TextError
from globalprune.text import files
from globalprune.text.files import local_rows
from globalprune.text.rows import Column


def values_of(*paths: Path) -> list[object]:
    """Every value of some files."""
    return column_values(local_rows(paths))


def test_a_text_file_is_one_document(tmp_path: Path) -> None:
    """Lines and blank lines are text like any other."""
    file = tmp_path / "a.txt"
    file.write_text("One line.\n\nAnother – ünïcode.\n", encoding="utf-8")
    rows = local_rows([file])
    assert rows.column is Column.TEXT
    assert located_values(rows) == [(str(file), "One line.\n\nAnother – ünïcode.\n")]


def test_a_long_text_file_is_read_in_pieces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Memory is bounded, no character is lost or split, and the pieces are always the same."""
    monkeypatch.setattr(files, "PIECE_CHARACTERS", 4)
    file = tmp_path / "a.txt"
    file.write_text("äöü€ßabcd𝄞", encoding="utf-8")
    assert values_of(file) == ["äöü€", "ßabc", "d𝄞"]


@pytest.mark.parametrize("name", ["a.txt", "a.jsonl"])
def test_a_byte_order_mark_is_no_text(tmp_path: Path, name: str) -> None:
    """Editors on Windows put one in front."""
    file = tmp_path / name
    content = "hello" if name == "a.txt" else '{"text": "hello"}'
    file.write_text(content, encoding="utf-8-sig")
    assert values_of(file) == ["hello"]


def test_each_line_of_jsonl_is_a_row_with_its_number(tmp_path: Path) -> None:
    """Blank lines hold no row but count, so that an editor finds the line."""
    file = tmp_path / "a.jsonl"
    file.write_text('{"text": "a\\n\u2028b", "id": 1}\n\n  \n{"id": 2, "text": "c"}')
    assert located_values(local_rows([file])) == [
        (f"{file}, line 1", "a\n\u2028b"),
        (f"{file}, line 4", "c"),
    ]


def test_files_are_read_one_after_the_other_whatever_their_kinds(tmp_path: Path) -> None:
    """A folder may hold the same column in several formats."""
    text = tmp_path / "a.txt"
    text.write_text("first")
    lines = write_lines(tmp_path / "b.jsonl", [{"text": "second"}, {"text": "third"}])
    table = write_column(tmp_path, "parquet", "text", ["fourth"])
    assert values_of(text, lines, table) == ["first", "second", "third", "fourth"]


def test_nothing_is_read_beyond_what_is_taken(tmp_path: Path) -> None:
    """What lies behind the rows needed may be broken, or endless."""
    file = tmp_path / "a.jsonl"
    file.write_text('{"text": "good"}\nbad\n')
    values = local_rows([file, tmp_path / "missing.jsonl"]).values
    assert next(values) == (f"{file}, line 1", {"text": "good"})


BAD_LINES = {
    "cut short": ('{"text": "a', r"line 2: is not JSON \(Invalid control character"),
    "two objects": ('{"text": "a"} {}', r"line 2: is not JSON \(Extra data"),
    "single quotes": ("{'text': 'a'}", r"line 2: is not JSON \(Expecting property name"),
    "bare text": ("hello", r"line 2: is not JSON .*mend or drop the line"),
    "nested without end": ("[" * 100_000, r"line 2: is not JSON \(maximum recursion depth"),
    "an endless number": ("9" * 5_000, r"line 2: is not JSON \(Exceeds the limit"),
    "a string": ('"text"', r'line 2: is a str, not an object; every line .*\{"text": "…"\}'),
    "a list": ('["text"]', r"line 2: is a list, not an object"),
    "null": ("null", r"line 2: is a NoneType, not an object"),
    "another key": ('{"content": "a"}', r"line 2: has no `text` \(found content\), which the"),
    "no key": ("{}", r"line 2: has no `text` \(found no key\).*give every line the same keys"),
}


@pytest.mark.parametrize(("line", "message"), BAD_LINES.values(), ids=BAD_LINES)
def test_a_bad_line_is_refused_with_its_number(tmp_path: Path, line: str, message: str) -> None:
    """The lines before it are no excuse."""
    file = tmp_path / "a.jsonl"
    file.write_text(f'{{"text": "good"}}\n{line}\n')
    with pytest.raises(TextError, match=rf"a\.jsonl, {message}"):
        values_of(file)


def test_the_first_line_must_name_a_column(tmp_path: Path) -> None:
    """The message lists its keys."""
    file = write_lines(tmp_path / "a.jsonl", [{"content": "a", "id": 1}])
    with pytest.raises(TextError, match=r"line 1: has no column .*; found content, id\. Name the"):
        values_of(file)


@pytest.mark.parametrize("content", ["", "\n\n"], ids=["no byte", "blank lines"])
def test_jsonl_without_rows_is_refused(tmp_path: Path, content: str) -> None:
    """No column can be known, so it isn't passed over."""
    file = tmp_path / "a.jsonl"
    file.write_text(content)
    with pytest.raises(TextError, match=r"a\.jsonl: is empty; every line should be an object"):
        values_of(file)


@pytest.mark.parametrize(
    ("name", "content", "byte"),
    [
        ("a.txt", "naïve".encode("latin-1"), "0xef"),
        ("a.txt", "text".encode("utf-16"), "0xff"),
        ("a.txt", "sublayer €".encode()[:-1], "0xe2"),
        ("a.jsonl", '{"text": "naïve"}'.encode("latin-1"), "0xef"),
    ],
    ids=["latin-1", "utf-16", "cut in a character", "jsonl"],
)
def test_text_that_is_not_utf_8_is_refused(
    tmp_path: Path, name: str, content: bytes, byte: str
) -> None:
    """The message names the byte and what to do."""
    file = tmp_path / name
    file.write_bytes(content)
    with pytest.raises(
        TextError, match=rf"{name}: is not UTF-8 \(byte {byte}: .*\); convert it to UTF-8"
    ):
        values_of(file)


def test_a_folder_of_documents_and_windows_is_refused(tmp_path: Path) -> None:
    """The message names both files and columns."""
    text = tmp_path / "a.txt"
    text.write_text("first")
    windows = write_lines(tmp_path / "b.jsonl", [{"input_ids": [1, 2]}])
    with pytest.raises(
        TextError, match=r"b\.jsonl: holds `input_ids`, but a\.txt holds `text`; keep documents"
    ):
        values_of(text, windows)


@pytest.mark.parametrize("name", ["a.txt", "a.jsonl"])
def test_a_file_that_has_gone_is_refused(tmp_path: Path, name: str) -> None:
    """A file may go between looking and reading."""
    with pytest.raises(TextError, match=rf"{name}: can't be read \(No such file or directory\)"):
        values_of(tmp_path / name)


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-32-le"])
@pytest.mark.parametrize("name", ["a.txt", "a.jsonl"])
def test_utf_16_without_a_mark_is_refused(tmp_path: Path, name: str, encoding: str) -> None:
    """It is valid UTF-8 with a NUL beside every letter."""
    (tmp_path / name).write_bytes('{"text": "hello"}\n'.encode(encoding))
    with pytest.raises(TextError, match=rf"{name}.*: holds NUL characters.*convert it to UTF-8"):
        values_of(tmp_path / name)


def test_a_line_without_end_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A whole data set in one JSON array is not read into memory to be told from a row."""
    monkeypatch.setattr(files, "MAX_LINE_CHARACTERS", 30)
    file = write_lines(tmp_path / "a.jsonl", [{"text": "short"}, {"text": "long" * 9}])
    with pytest.raises(TextError, match=r"line 2: is longer than 30 characters"):
        values_of(file)
