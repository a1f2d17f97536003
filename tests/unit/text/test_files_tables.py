"""Parquet and Arrow files as rows."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet
import pytest
from text_files import TABLE_KINDS, column_values, located_values, write_arrow, write_column

from globalprune.errors import TextError
from globalprune.text.files import table_rows
from globalprune.text.rows import Column

KINDS = TABLE_KINDS[1:]
BINARY_KINDS = pytest.mark.parametrize("kind", KINDS)


def write(folder: Path, kind: str, table: Any) -> Path:
    """Write a whole table."""
    if kind == "parquet":
        pyarrow.parquet.write_table(table, folder / "rows.parquet")
        return folder / "rows.parquet"
    return write_arrow(folder / "rows.arrow", table, stream=kind == "arrow stream")


def values_of(path: Path) -> list[object]:
    """Every value of a table."""
    return column_values(table_rows(path))


@BINARY_KINDS
@pytest.mark.parametrize(
    ("column", "values"),
    [("text", ["a", "b", "", None, "e"]), ("input_ids", [[1, 2], [3], [], [4, 5, 6], [7, 8]])],
    ids=["text", "input_ids"],
)
def test_every_row_is_read_with_its_number(
    tmp_path: Path, kind: str, column: str, values: list[object]
) -> None:
    """In order over all batches, as plain Python values, counted from 0."""
    path = write_column(tmp_path, kind, column, values)
    rows = table_rows(path)
    assert rows.column is Column(column)
    assert located_values(rows) == [(f"{path}, row {n}", value) for n, value in enumerate(values)]


@BINARY_KINDS
@pytest.mark.parametrize(
    "make",
    [
        lambda: pa.array(["a", "b", "a"], pa.large_string()),
        lambda: pa.array(["a", "b", "a"]).dictionary_encode(),
        lambda: pa.array(["a", "b", "a"], pa.string_view()),
    ],
    ids=["large", "dictionary", "view"],
)
def test_every_spelling_of_a_string_column_is_text(
    tmp_path: Path, kind: str, make: Callable[[], Any]
) -> None:
    """pandas, polars and datasets each write another one."""
    assert values_of(write(tmp_path, kind, pa.table({"text": make()}))) == ["a", "b", "a"]


@BINARY_KINDS
@pytest.mark.parametrize(
    "list_of",
    [pa.list_, pa.large_list, lambda inner: pa.list_(inner, 2)],
    ids=["", "large", "fixed"],
)
def test_numbers_for_every_token_come_with_the_ids(
    tmp_path: Path, kind: str, list_of: Callable[[Any], Any]
) -> None:
    """Whatever list wrote them: what they say of the tokens is the reader's to refuse."""
    ids = pa.array([[1, 2], [3, 4]], list_of(pa.int64()))
    weights = pa.array([[0.0, 1.0], [1.0, 1.0]], list_of(pa.float32()))
    path = write(tmp_path, kind, pa.table({"input_ids": ids, "weights": weights}))
    (_, row), _ = table_rows(path).values
    assert row == {"input_ids": [1, 2], "weights": [0.0, 1.0]}


@BINARY_KINDS
def test_a_table_of_no_rows_gives_none(tmp_path: Path, kind: str) -> None:
    """Its schema still says which column it would be."""
    path = write(tmp_path, kind, pa.table({"text": pa.array([], pa.string())}))
    assert table_rows(path).column is Column.TEXT
    assert values_of(path) == []


@BINARY_KINDS
def test_a_table_without_the_column_is_refused(tmp_path: Path, kind: str) -> None:
    """At opening, with the columns it has."""
    path = write_column(tmp_path, kind, "content", ["a"])
    with pytest.raises(TextError, match=r"rows\.\w+: has no column .*; found other, content\."):
        table_rows(path)


@BINARY_KINDS
def test_two_columns_called_text_are_refused(tmp_path: Path, kind: str) -> None:
    """A join leaves such tables behind."""
    table = pa.Table.from_arrays([pa.array(["a"]), pa.array(["b"])], names=["text", "text"])
    with pytest.raises(TextError, match=r"rows\.\w+: has 2 columns `text`"):
        table_rows(write(tmp_path, kind, table))


@BINARY_KINDS
def test_strings_that_are_not_utf_8_are_refused(tmp_path: Path, kind: str) -> None:
    """Writers don't check them; the message names the row and the byte."""
    raw = pa.array([b"good", b"na\xefve"], pa.binary()).view(pa.string())
    path = write(tmp_path, kind, pa.table({"text": raw}))
    with pytest.raises(TextError, match=r"rows\.\w+, row 1: is not UTF-8 \(byte 0xef: .*anew"):
        values_of(path)


@BINARY_KINDS
@pytest.mark.parametrize("share", [0.0, 0.02, 0.5], ids=["empty", "in head", "in rows"])
def test_a_truncated_table_is_refused(tmp_path: Path, kind: str, share: float) -> None:
    """A broken download is no shorter text."""
    path = write_column(tmp_path, kind, "text", [f"document {n}" for n in range(200)])
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(
        TextError, match=rf"rows\.\w+: can't be read as {path.suffix[1:]} \(.+\); write it anew"
    ):
        values_of(path)


@pytest.mark.parametrize("suffix", ["parquet", "arrow"])
def test_another_kind_of_file_is_refused(tmp_path: Path, suffix: str) -> None:
    """A suffix makes no table."""
    path = tmp_path / f"rows.{suffix}"
    path.write_text('{"text": "a line of JSON under a wrong name"}\n' * 9)
    with pytest.raises(TextError, match=rf"rows\.{suffix}: can't be read as {suffix} \("):
        values_of(path)


def test_damaged_pages_are_refused_while_reading(tmp_path: Path) -> None:
    """The schema may be whole where the rows aren't."""
    path = write_column(tmp_path, "parquet", "text", ["a document"] * 100)
    content = bytearray(path.read_bytes())
    content[4:200] = b"\xff" * 196
    path.write_bytes(content)
    rows = table_rows(path)
    with pytest.raises(TextError, match=r"rows\.parquet: can't be read as parquet \("):
        list(rows.values)
