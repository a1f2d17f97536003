"""Rows of text: the columns that are read, and the rules that every reader follows.

The readers are our own: `datasets` takes more than a second to import, and guesses where these
refuse (UTF-16 without a mark, NULs, half surrogate pairs, endless lines, two columns of one name).

Tables made for trainers have columns of one entry for each token beside `input_ids`. A row is read
with them, as the trainer that it was made for would read it, or refused with the column's name: no
column is ignored.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import numpy as np
import numpy.typing as npt

from globalprune.errors import TextError

Ids = npt.NDArray[np.int64]  # [T]
TokenMask = npt.NDArray[np.bool_]  # [T]


class Column(StrEnum):
    """The column of a table that holds its text."""

    TEXT = "text"
    INPUT_IDS = "input_ids"
    MESSAGES = "messages"


# In order of preference: the first that a table has is read.
MEASURED_COLUMNS: Final = (Column.TEXT, Column.INPUT_IDS, Column.MESSAGES)
TRAINING_COLUMNS: Final = (Column.MESSAGES, Column.TEXT, Column.INPUT_IDS)
# Columns beside `input_ids`, with one entry for each token.
_PADDING: Final = "attention_mask"
_LABELS: Final = "labels"
_POSITIONS: Final = "position_ids"
_SEGMENTS: Final = "token_type_ids"
_SEQUENCE_LENGTHS: Final = "seq_lengths"
_LOSS_MASKS: Final = ("completion_mask", "assistant_masks", "assistant_mask", "loss_mask")
TOKEN_COLUMNS: Final = (_PADDING, _LABELS, _POSITIONS, _SEGMENTS, _SEQUENCE_LENGTHS, *_LOSS_MASKS)
TOOLS: Final = "tools"  # beside `messages`: the functions that an assistant may call
_HARMLESS_COLUMNS: Final = ("special_tokens_mask", "offset_mapping", "length")
# Other names for conversations, and how to write these as `messages`.
_CONVERSATION_COLUMNS: Final = (
    ("conversations", "from and value of ShareGPT are role and content of `messages`"),
    ("conversation", "name the column `messages`, with role and content"),
    ("prompt", "prompt and answer are two messages, of the user and of the assistant"),
    ("instruction", "instruction and output are two messages, of the user and of the assistant"),
)
IGNORED_LABEL: Final = -100  # the label that transformers leaves out of a loss
MIN_TOKENS: Final = 2  # a window of one token predicts none


@dataclass(frozen=True)
class TextRows:
    """The rows of a source, read lazily and once.

    `values` yields where a row stands, for messages, and its columns by name. Every row has
    `column`. Rows of `text` have no other column; other rows have those that may belong to it.
    """

    column: Column
    values: Iterator[tuple[str, Mapping[str, object]]]


@dataclass(frozen=True)
class TokenRow:
    """One row without its padding: ids `[T]`, and which of them the loss counts, `[T]`."""

    where: str
    ids: Ids
    loss_mask: TokenMask
    masked_by: str | None  # the column that leaves a token out of the loss

    @classmethod
    def of(cls, row: Mapping[str, object], where: str, vocab_size: int) -> "TokenRow":
        """Read a row; raise `TextError` with the column at fault."""
        ids = _read_ids(row, where, vocab_size)
        _refuse_unknown_columns(row, len(ids), where)
        _refuse_packed(row, where)
        text = _unpadded(row, len(ids), where)
        _refuse_positions(row, text, where)
        loss_mask = np.ones(len(ids), dtype=np.bool_)
        masked_by = None
        for name, mask in _loss_masks(row, ids, text, where):
            if not mask[text][1:].all():  # the first is never predicted
                masked_by = name
            loss_mask &= mask
        unpadded = ids[text]
        if len(unpadded) < MIN_TOKENS:
            tokens = f"{len(unpadded)} token{'s' * (len(unpadded) != 1)}"
            without = f" without the padding of `{_PADDING}`" if len(unpadded) < len(ids) else ""
            raise TextError(
                f"{where}: has {tokens}{without}; a window needs {MIN_TOKENS} to predict one."
            )
        return cls(where, unpadded, loss_mask[text], masked_by)


def choose_column(
    names: Iterable[object], where: str, columns: Sequence[Column] = MEASURED_COLUMNS
) -> Column:
    """Return the first of `columns` that is in `names`.

    Raise `TextError` if there is none, or if a table has two of that name.
    """
    listed = [str(name) for name in names]
    for column in columns:
        if listed.count(column) > 1:
            raise TextError(
                f"{where}: has {listed.count(column)} columns `{column}`; rename all but one of "
                "them."
            )
        if column in listed:
            return column
    advice = [text for name, text in _CONVERSATION_COLUMNS if name in listed]
    raise TextError(
        f"{where}: has no column {' or '.join(f'`{column}`' for column in columns)}; "
        f"found {', '.join(listed) or 'none'}. "
        + (
            f"Write conversations as `messages`: {advice[0]}."
            if advice
            else "Name the column that holds the documents `text`."
        )
    )


def _read_list(
    row: Mapping[str, object], name: str, where: str, length: int | None = None
) -> list[int]:
    """Return one column as integers, `length` of them if given."""
    value = row[name]
    if not isinstance(value, list) or not all(type(entry) is int for entry in value):
        raise TextError(f"{where}: `{name}` is not a list of integers; mend or drop that row.")
    if length is not None and len(value) != length:
        raise TextError(
            f"{where}: `{name}` has {len(value)} entries, and `{Column.INPUT_IDS}` has {length}; "
            "mend or drop that row."
        )
    return value


def _read_array(row: Mapping[str, object], name: str, where: str, length: int) -> Ids:
    """Return one column as an array, `[length]`."""
    value = _read_list(row, name, where, length)
    try:
        return np.array(value, dtype=np.int64)
    except OverflowError as error:
        raise TextError(
            f"{where}: `{name}` has a number beyond 64 bits; mend or drop that row."
        ) from error


def _read_mask(row: Mapping[str, object], name: str, where: str, length: int) -> TokenMask:
    """Return one column of 0 and 1, or of booleans, as a mask, `[length]`."""
    value = row[name]
    if isinstance(value, list) and all(type(entry) is bool for entry in value):
        row = {name: [int(entry) for entry in value]}
    entries = _read_array(row, name, where, length)
    wrong = entries[(entries != 0) & (entries != 1)]
    if len(wrong):
        raise TextError(
            f"{where}: `{name}` holds {wrong[0]}, which is neither 0 nor 1; mend or drop the "
            "column."
        )
    return entries.astype(np.bool_)


def _read_ids(row: Mapping[str, object], where: str, vocab_size: int) -> Ids:
    """Return the ids; raise `TextError` for one that the model has no embedding for."""
    ids = _read_list(row, Column.INPUT_IDS, where)
    for token in (min(ids), max(ids)) if ids else ():
        if not 0 <= token < vocab_size:
            raise TextError(
                f"{where}: id {token} is outside the model's vocabulary (0 to {vocab_size - 1}); "
                "the rows were made for another tokenizer."
            )
    return np.array(ids, dtype=np.int64)


def _refuse_unknown_columns(row: Mapping[str, object], length: int, where: str) -> None:
    """Raise `TextError` for a column of one number for each token whose meaning isn't known."""
    known = (Column.INPUT_IDS, *TOKEN_COLUMNS, *_HARMLESS_COLUMNS)
    for name, value in row.items():
        if name in known or not isinstance(value, list):
            continue
        if len(value) == length and all(isinstance(entry, int | float) for entry in value):
            raise TextError(
                f"{where}: `{name}` has a number for every token, and what it means isn't known; "
                "drop the column if the rows mean the same without it "
                f"({', '.join(TOKEN_COLUMNS)} are known)."
            )


def _refuse_packed(row: Mapping[str, object], where: str) -> None:
    """Raise `TextError` for several documents in one row that must not see each other."""
    if _SEQUENCE_LENGTHS in row and len(_read_list(row, _SEQUENCE_LENGTHS, where)) > 1:
        raise TextError(
            f"{where}: `{_SEQUENCE_LENGTHS}` says that the row is packed of several documents, "
            "which would see each other here; write each into a row of its own."
        )


def _unpadded(row: Mapping[str, object], length: int, where: str) -> slice:
    """Return which tokens are no padding; raise `TextError` unless they are contiguous."""
    if _PADDING not in row:
        return slice(0, length)
    mask = _read_mask(row, _PADDING, where, length)
    (places,) = np.nonzero(mask)
    if not len(places):
        return slice(0, 0)
    text = slice(int(places[0]), int(places[-1]) + 1)
    if not mask[text].all():
        raise TextError(
            f"{where}: `{_PADDING}` leaves out tokens in the middle of the row, where padding "
            "can't be; drop these tokens, or the row."
        )
    return text


def _refuse_positions(row: Mapping[str, object], text: slice, where: str) -> None:
    """Raise `TextError` for positions or segments other than those of a single text."""
    count = text.stop - text.start
    for name, expected, wrong in (
        (_POSITIONS, np.arange(count), "positions that don't run from 0"),
        (_SEGMENTS, np.zeros(count, np.int64), "segments other than 0"),
    ):
        if name not in row:
            continue
        value = row[name]
        length = len(value) if isinstance(value, list) else 0
        entries = _read_array(row, name, where, length)
        if length < text.stop or not np.array_equal(entries[text], expected):
            raise TextError(
                f"{where}: `{name}` holds {wrong} (or not one for each token), as rows packed of "
                "several texts have; write each text into a row of its own, or drop the column."
            )


def _loss_masks(
    row: Mapping[str, object], ids: Ids, text: slice, where: str
) -> Iterator[tuple[str, TokenMask]]:
    """Yield each column that says which tokens are learned, with its mask."""
    for name in _LOSS_MASKS:
        if name in row:
            yield name, _read_mask(row, name, where, len(ids))
    if _LABELS not in row:
        return
    labels = _read_array(row, _LABELS, where, len(ids))
    counted = labels != IGNORED_LABEL
    (wrong,) = np.nonzero((counted & (labels != ids))[text])
    if len(wrong):
        place = text.start + int(wrong[0])
        raise TextError(
            f"{where}: `{_LABELS}` holds {labels[place]} at token {place}, whose id is "
            f"{ids[place]}; a label is the token's own id, or {IGNORED_LABEL} where it isn't "
            "learned (they are not shifted by one), so other labels can't be learned; "
            "mend or drop them."
        )
    yield _LABELS, counted
