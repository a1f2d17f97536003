"""Text as tests write it: files of rows, tokenizers of other habits, and ids found again in it."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet
from tiny_models import tiny_tokenizer
from tokenizers.processors import TemplateProcessing
from transformers import PreTrainedTokenizerBase

from globalprune.text.rows import Ids, TextRows

BOS, EOS, PAD = 256, 257, 258
VOCABULARY = 260
TokenizerMaker = Callable[[], PreTrainedTokenizerBase]
TABLE_KINDS = ("jsonl", "parquet", "arrow", "arrow stream")


def tokenizer_with_bos() -> PreTrainedTokenizerBase:
    """The byte tokenizer, with `<s>` before every text as Llama's has."""
    return _led_by("<s>", BOS)


def tokenizer_with_leading_unknown() -> PreTrainedTokenizerBase:
    """The byte tokenizer, with something before every text that is not its BOS."""
    return _led_by("<unk>", 259)


def _led_by(token: str, number: int) -> PreTrainedTokenizerBase:
    """The byte tokenizer with a token before every text."""
    tokenizer = tiny_tokenizer()
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single=f"{token} $A", special_tokens=[(token, number)]
    )
    return tokenizer


def tokenizer_without(**names: None) -> PreTrainedTokenizerBase:
    """The byte tokenizer without some special tokens: `eos_token=None`."""
    tokenizer = tiny_tokenizer()
    for name in names:
        setattr(tokenizer, name, None)
    return tokenizer


def failing_tokenizer() -> PreTrainedTokenizerBase:
    """A tokenizer that must not be loaded."""
    raise AssertionError("the tokenizer was loaded")


def ids_of(text: str) -> Ids:
    """The ids of a text without any special token."""
    ids: list[int] = tiny_tokenizer()(text, add_special_tokens=False)["input_ids"]
    return np.array(ids, dtype=np.int64)


def joined_ids(documents: Sequence[str]) -> Ids:
    """The ids of documents with an EOS between each two."""
    first, *others = [ids_of(document) for document in documents]
    behind = [np.concatenate([[EOS], ids]) for ids in others]
    return np.concatenate([first, *behind])


def numbered_text(count: int, first: int = 0) -> str:
    """Text in which any twelve characters tell where they stand: `0000.0001.…`."""
    return "".join(f"{number:04}." for number in range(first, first + count))


def numbered_documents(count: int, words: int = 5) -> list[str]:
    """Documents of that text, one going on where the other ends."""
    return [numbered_text(words, first) for first in range(0, count * words, words)]


def position_of(row: Any, ids: Ids) -> int:
    """Where a row of ids stands in a longer one; it must stand there once."""
    spans = np.lib.stride_tricks.sliding_window_view(ids, len(row))
    (places,) = np.nonzero((spans == np.asarray(row)).all(axis=1))
    (place,) = places
    return int(place)


def located_values(rows: TextRows) -> list[tuple[str, object]]:
    """Each row's place, and what stands in the column that is read."""
    return [(where, row[rows.column]) for where, row in rows.values]


def column_values(rows: TextRows) -> list[object]:
    """What stands in the column that is read."""
    return [value for _, value in located_values(rows)]


def write_lines(path: Path, rows: Sequence[object]) -> Path:
    """Write a .jsonl file, one JSON value a line."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def write_arrow(path: Path, table: Any, *, stream: bool = False) -> Path:
    """Write an Arrow IPC file, or the stream that `datasets` writes under the same suffix."""
    open_writer = pyarrow.ipc.new_stream if stream else pyarrow.ipc.new_file
    with pa.OSFile(str(path), "wb") as sink, open_writer(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=2)
    return path


def write_column(folder: Path, kind: str, column: str, values: Sequence[object]) -> Path:
    """Write one column as a file of one of `TABLE_KINDS`."""
    if kind == "jsonl":
        return write_lines(folder / "rows.jsonl", [{column: value} for value in values])
    table = pa.table({"other": list(range(len(values))), column: list(values)})
    if kind == "parquet":
        pyarrow.parquet.write_table(table, folder / "rows.parquet", row_group_size=2)
        return folder / "rows.parquet"
    return write_arrow(folder / "rows.arrow", table, stream=kind == "arrow stream")
