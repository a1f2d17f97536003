"""Windows of token ids: their shape, how documents are cut into them, and their record."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, islice
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from transformers import PreTrainedTokenizerBase

from globalprune.artifacts.analyses.analysis import TextRecord
from globalprune.artifacts.records import digest_bytes
from globalprune.errors import TextError, UsageError
from globalprune.text.readers import Column, TextRows
from globalprune.text.token_rows import MIN_TOKENS, TokenRow
from globalprune.text.tokenization import Ids, adds_bos


@dataclass(frozen=True)
class TokenWindows:
    """Rows of ids, each 1-D int64 on the CPU and never padded, and their record."""

    rows: tuple[torch.Tensor, ...]
    record: TextRecord


def make_windows(rows: Sequence[Ids], **facts: Any) -> TokenWindows:
    """Make windows of rows of ids; `facts` are what only the caller knows of their record."""
    record = TextRecord(
        samples=len(rows),
        tokens=sum(len(row) for row in rows),
        predicted_tokens=sum(len(row) - 1 for row in rows),
        digest=_digest(rows),
        **facts,
    )
    return TokenWindows(tuple(torch.from_numpy(row) for row in rows), record)


def batches(windows: TokenWindows, batch_size: int) -> Iterator[torch.Tensor]:
    """Neighbouring windows of equal length together, `[B, T]` with B at most `batch_size`.

    Ragged windows are never padded: where the length changes, a new batch starts.
    """
    for _, group in groupby(windows.rows, key=len):
        rows = list(group)
        for start in range(0, len(rows), batch_size):
            yield torch.stack(rows[start : start + batch_size])


def row_digest(row: Ids) -> str:
    """The digest of one row of ids."""
    return digest_bytes(row.astype("<i8").tobytes())


def _digest(rows: Sequence[Ids]) -> str:
    """The digest of all ids, of the rows' lengths too: cutting differently is another text."""
    lengths = np.array([len(row) for row in rows], dtype="<i8")
    return digest_bytes(lengths.tobytes(), *(row.astype("<i8").tobytes() for row in rows))


Scalar = TypeVar("Scalar", bound=np.generic)


def check_counts(
    *,
    samples: int | None,
    seq_len: int | None,
    stride: int | None = None,
    seed: int = 0,
    batch_size: int = 1,
) -> None:
    """Refuse numbers that can't be meant, before any text is read."""
    least = {
        "--samples": (samples, 1),
        "--seq-len": (seq_len, MIN_TOKENS),
        "--stride": (stride, 1),
        "--seed": (seed, 0),
        "--batch-size": (batch_size, 1),
    }
    for option, (value, minimum) in least.items():
        if value is not None and value < minimum:
            raise UsageError(f"{option} {value}: must be at least {minimum}.")


@dataclass(frozen=True)
class WindowCutter:
    """A window of `seq_len` ids; `body` of them are text, one fewer where a BOS leads."""

    seq_len: int
    bos: int | None

    @classmethod
    def of(
        cls, tokenizer: PreTrainedTokenizerBase, seq_len: int, column: Column = Column.TEXT
    ) -> "WindowCutter":
        """A window that begins as the tokenizer begins its texts; chat templates write BOS."""
        leads = column is Column.TEXT and adds_bos(tokenizer)
        return cls(seq_len, tokenizer.bos_token_id if leads else None)

    @property
    def body(self) -> int:
        """Tokens of text in a window."""
        return self.seq_len - (self.bos is not None)

    def cut(self, ids: Ids, positions: Ids) -> list[Ids]:
        """The windows whose text starts at these positions."""
        head = np.array([] if self.bos is None else [self.bos], dtype=np.int64)
        return [np.concatenate([head, span]) for span in self.bodies(ids, positions)]

    def bodies(
        self, row: npt.NDArray[Scalar], positions: Iterable[int]
    ) -> list[npt.NDArray[Scalar]]:
        """What lies below the windows' text in a row that runs beside the ids."""
        return [row[start : start + self.body] for start in positions]


def id_windows(
    rows: TextRows, *, name: str, vocab_size: int, samples: int | None, seq_len: int | None
) -> TokenWindows:
    """Take the first `samples` rows, or all if None; `seq_len` must be their length if given.

    Every token of a window is measured, so rows that leave some out of the loss are refused.
    """
    taken = read_token_rows(rows, name=name, vocab_size=vocab_size, samples=samples)
    for row in taken:
        if row.masked_by is not None:
            raise TextError(
                f"{row.where}: `{row.masked_by}` leaves tokens out of the loss, which gp finetune "
                "honours, and what is measured is the loss of every token; drop the column, or the "
                "tokens."
            )
    if samples is not None and len(taken) < samples:
        raise TextError(
            f"{name}: has {len(taken)} rows of `input_ids`, but --samples asks for {samples}; "
            f"say --samples {len(taken)} or leave it out to take all."
        )
    longest = max(len(row.ids) for row in taken)
    if seq_len is not None and seq_len != longest:
        raise TextError(
            f"{name}: its rows of `input_ids` are up to {longest} tokens long, and --seq-len says "
            f"{seq_len}; rows are used as they stand, so leave --seq-len out."
        )
    return windows_from_rows(taken, name)


def read_token_rows(
    rows: TextRows, *, name: str, vocab_size: int, samples: int | None
) -> tuple[TokenRow, ...]:
    """Read the first `samples` rows, or all if None, without their padding."""
    taken = tuple(
        TokenRow.of(row, where, vocab_size) for where, row in islice(rows.values, samples)
    )
    if not taken:
        raise TextError(f"{name}: has no rows of `input_ids`.")
    return taken


def windows_from_rows(taken: Sequence[TokenRow], name: str) -> TokenWindows:
    """Each row as a window."""
    lengths = {len(row.ids) for row in taken}
    return make_windows(
        [row.ids for row in taken],
        source=name,
        documents=len(taken),
        document_digests=tuple(row_digest(row.ids) for row in taken),
        seq_len=lengths.pop() if len(lengths) == 1 else None,
        stride=None,
        seed=None,
        bos=False,
    )
