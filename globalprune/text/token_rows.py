"""Rows of `input_ids` with what stands beside them: padding, and the tokens that are not learned.

Tables made for trainers carry masks of one entry a token. A row is read with them, as the trainer
that it was made for would read it, or refused by the column's name: what a column says is never
passed over.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from globalprune.errors import TextError
from globalprune.text.readers import (
    LABELS,
    LOSS_MASKS,
    PADDING,
    POSITIONS,
    SEGMENTS,
    SEQUENCE_LENGTHS,
    TOKEN_COLUMNS,
    Column,
)
from globalprune.text.tokenization import Ids

IGNORED_LABEL: Final = -100  # the label that transformers leaves out of a loss
MIN_TOKENS: Final = 2  # a window of one token predicts none
TokenMask = npt.NDArray[np.bool_]

_OF_NO_MEANING: Final = ("special_tokens_mask", "offset_mapping", "length")


@dataclass(frozen=True)
class TokenRow:
    """One row without its padding: ids `[T]`, which of them the loss counts, and what says so."""

    where: str
    ids: Ids
    learned: TokenMask
    masked_by: str | None  # the column that leaves a token out of the loss

    @classmethod
    def of(cls, row: Mapping[str, object], where: str, vocab_size: int) -> "TokenRow":
        """Read a row; raise `TextError` with the column at fault."""
        ids = _ids(row, where, vocab_size)
        _refuse_unknown(row, len(ids), where)
        _refuse_packed(row, where)
        real = _real(row, len(ids), where)
        _refuse_positions(row, real, where)
        learned = np.ones(len(ids), dtype=np.bool_)
        masked_by = None
        for name, mask in _masks(row, ids, real, where):
            if not mask[real][1:].all():  # the first is never predicted
                masked_by = name
            learned &= mask
        kept = ids[real]
        if len(kept) < MIN_TOKENS:
            tokens = f"{len(kept)} token{'s' * (len(kept) != 1)}"
            beside = " that its `attention_mask` leaves" if len(kept) < len(ids) else ""
            raise TextError(
                f"{where}: has {tokens}{beside}; a window needs {MIN_TOKENS} to predict one."
            )
        return cls(where, kept, learned[real], masked_by)


def _whole_numbers(
    row: Mapping[str, object], name: str, where: str, length: int | None = None
) -> list[int]:
    """One column as integers, one for each token."""
    value = row[name]
    if not isinstance(value, list) or not all(type(entry) is int for entry in value):
        raise TextError(f"{where}: `{name}` is not a list of integers; mend or drop that row.")
    if length is not None and len(value) != length:
        raise TextError(
            f"{where}: `{name}` has {len(value)} entries, and `{Column.INPUT_IDS}` has {length}; "
            "mend or drop that row."
        )
    return value


def _integers(row: Mapping[str, object], name: str, where: str, length: int) -> Ids:
    """The same as an array."""
    value = _whole_numbers(row, name, where, length)
    try:
        return np.array(value, dtype=np.int64)
    except OverflowError as error:
        raise TextError(
            f"{where}: `{name}` has a number beyond 64 bits; mend or drop that row."
        ) from error


def _zeros_and_ones(row: Mapping[str, object], name: str, where: str, length: int) -> TokenMask:
    """One column as a mask; booleans will do."""
    value = row[name]
    if isinstance(value, list) and all(type(entry) is bool for entry in value):
        row = {name: [int(entry) for entry in value]}
    entries = _integers(row, name, where, length)
    wrong = entries[(entries != 0) & (entries != 1)]
    if len(wrong):
        raise TextError(
            f"{where}: `{name}` holds {wrong[0]}, where 0 and 1 are known; mend or drop the column."
        )
    return entries.astype(np.bool_)


def _ids(row: Mapping[str, object], where: str, vocab_size: int) -> Ids:
    """The ids, if the model has an embedding for each."""
    ids = _whole_numbers(row, Column.INPUT_IDS, where)
    for token in (min(ids), max(ids)) if ids else ():
        if not 0 <= token < vocab_size:
            raise TextError(
                f"{where}: id {token} is outside the model's vocabulary (0 to {vocab_size - 1}); "
                "the rows were made for another tokenizer."
            )
    return np.array(ids, dtype=np.int64)


def _refuse_unknown(row: Mapping[str, object], length: int, where: str) -> None:
    """Raise for a column of one number a token whose meaning isn't known."""
    for name, value in row.items():
        if name in (Column.INPUT_IDS, *TOKEN_COLUMNS, *_OF_NO_MEANING) or not isinstance(
            value, list
        ):
            continue
        if len(value) == length and all(isinstance(entry, int | float) for entry in value):
            raise TextError(
                f"{where}: `{name}` has a number for every token, and what it says of them isn't "
                f"known; drop the column if the rows mean the same without it "
                f"({', '.join(TOKEN_COLUMNS)} are known)."
            )


def _refuse_packed(row: Mapping[str, object], where: str) -> None:
    """Raise for several documents in one row that must not see each other."""
    if SEQUENCE_LENGTHS in row and len(_whole_numbers(row, SEQUENCE_LENGTHS, where)) > 1:
        raise TextError(
            f"{where}: `{SEQUENCE_LENGTHS}` says that the row is packed of several documents, "
            "which would see each other here; write each into a row of its own."
        )


def _real(row: Mapping[str, object], length: int, where: str) -> slice:
    """Which tokens are no padding: they must stand together."""
    if PADDING not in row:
        return slice(0, length)
    mask = _zeros_and_ones(row, PADDING, where, length)
    (places,) = np.nonzero(mask)
    if not len(places):
        return slice(0, 0)
    found = slice(int(places[0]), int(places[-1]) + 1)
    if not mask[found].all():
        raise TextError(
            f"{where}: `{PADDING}` leaves out tokens in the middle of the row, which only padding "
            "at an end can be; drop these tokens, or the row."
        )
    return found


def _refuse_positions(row: Mapping[str, object], real: slice, where: str) -> None:
    """Raise for positions and segments other than those of one text from its start."""
    count = real.stop - real.start
    for name, expected, found in (
        (POSITIONS, np.arange(count), "positions that don't run from 0"),
        (SEGMENTS, np.zeros(count, np.int64), "segments other than 0"),
    ):
        if name not in row:
            continue
        value = row[name]
        length = len(value) if isinstance(value, list) else 0
        entries = _integers(row, name, where, length)
        if length < real.stop or not np.array_equal(entries[real], expected):
            raise TextError(
                f"{where}: `{name}` holds {found} (or not one for each token), as rows packed of "
                "several texts have; write each text into a row of its own, or drop the column."
            )


def _masks(
    row: Mapping[str, object], ids: Ids, real: slice, where: str
) -> Iterator[tuple[str, TokenMask]]:
    """Each column that says which tokens are learned."""
    for name in LOSS_MASKS:
        if name in row:
            yield name, _zeros_and_ones(row, name, where, len(ids))
    if LABELS not in row:
        return
    labels = _integers(row, LABELS, where, len(ids))
    counted = labels != IGNORED_LABEL
    (wrong,) = np.nonzero((counted & (labels != ids))[real])
    if len(wrong):
        place = real.start + int(wrong[0])
        raise TextError(
            f"{where}: `{LABELS}` holds {labels[place]} at token {place}, whose id is "
            f"{ids[place]}; a label is the token's own id, or {IGNORED_LABEL} where it isn't "
            "learned (they are not shifted by one), so other labels can't be learned; "
            "mend or drop them."
        )
    yield LABELS, counted
