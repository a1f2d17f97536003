"""Windows of token ids: how they are cut from text or taken from rows, and their record."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, islice
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import torch
from transformers import PreTrainedTokenizerBase

from globalprune.artifacts.records import TextRecord, digest_bytes
from globalprune.errors import TextError, UsageError
from globalprune.text.rows import MIN_TOKENS, Column, Ids, TextRows, TokenRow
from globalprune.text.tokenization import TokenSequence, adds_bos

Scalar = TypeVar("Scalar", bound=np.generic)


@dataclass(frozen=True)
class TokenWindows:
    """Rows of ids, each 1-D int64 on the CPU and never padded, and their record."""

    rows: tuple[torch.Tensor, ...]
    record: TextRecord


@dataclass(frozen=True)
class WindowCutter:
    """Cuts windows of `seq_len` ids; each starts with `bos` unless that is None."""

    seq_len: int
    bos: int | None

    @classmethod
    def of(
        cls, tokenizer: PreTrainedTokenizerBase, seq_len: int, column: Column = Column.TEXT
    ) -> "WindowCutter":
        """Cut as the tokenizer starts its texts; chat templates write BOS themselves."""
        leads = column is Column.TEXT and adds_bos(tokenizer)
        return cls(seq_len, tokenizer.bos_token_id if leads else None)

    @property
    def text_length(self) -> int:
        """Tokens of text in a window: all but BOS."""
        return self.seq_len - (self.bos is not None)

    def windows(
        self,
        text: TokenSequence,
        positions: Ids,
        *,
        name: str,
        stride: int | None = None,
        seed: int | None = None,
    ) -> TokenWindows:
        """Return the windows whose text starts at `positions`; the rest is for their record."""
        head = np.array([] if self.bos is None else [self.bos], dtype=np.int64)
        return make_windows(
            [np.concatenate([head, span]) for span in self.spans(text.ids, positions)],
            source=name,
            document_digests=text.documents_in(positions, self.text_length),
            seq_len=self.seq_len,
            stride=stride,
            seed=seed,
            bos=self.bos is not None,
        )

    def spans(
        self, row: npt.NDArray[Scalar], positions: Iterable[int]
    ) -> list[npt.NDArray[Scalar]]:
        """Return the parts of the windows' text in a row of one entry for each token."""
        return [row[start : start + self.text_length] for start in positions]


def make_windows(
    rows: Sequence[Ids],
    *,
    source: str,
    document_digests: Sequence[str],
    seq_len: int | None,
    stride: int | None = None,
    seed: int | None = None,
    bos: bool = False,
) -> TokenWindows:
    """Make windows of rows of ids, with a record of what they hold and where they come from."""
    record = TextRecord(
        source=source,
        documents=len(document_digests),
        document_digests=tuple(document_digests),
        samples=len(rows),
        tokens=sum(len(row) for row in rows),
        predicted_tokens=sum(len(row) - 1 for row in rows),
        seq_len=seq_len,
        stride=stride,
        seed=seed,
        bos=bos,
        digest=_windows_digest(rows),
    )
    return TokenWindows(tuple(torch.from_numpy(row) for row in rows), record)


def id_windows(
    rows: TextRows, *, name: str, vocab_size: int, samples: int | None, seq_len: int | None
) -> TokenWindows:
    """Take the first `samples` rows of ids as windows, or all if None.

    Raise `TextError` for too few rows, for a `seq_len` that is not their length, and for a row that
    leaves tokens out of the loss, since every token of a window is measured.
    """
    taken = read_token_rows(rows, name=name, vocab_size=vocab_size, samples=samples)
    for row in taken:
        if row.masked_by is not None:
            raise TextError(
                f"{row.where}: `{row.masked_by}` leaves tokens out of the loss, which gp finetune "
                "follows, but here the loss of every token is measured; drop the column, or the "
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
            f"{seq_len}; rows are used as they are, so leave --seq-len out."
        )
    return windows_from_rows(taken, name)


def read_token_rows(
    rows: TextRows, *, name: str, vocab_size: int, samples: int | None
) -> tuple[TokenRow, ...]:
    """Read the first `samples` rows of ids, or all if None, without their padding."""
    taken = tuple(
        TokenRow.of(row, where, vocab_size) for where, row in islice(rows.values, samples)
    )
    if not taken:
        raise TextError(f"{name}: has no rows of `input_ids`.")
    return taken


def windows_from_rows(rows: Sequence[TokenRow], name: str) -> TokenWindows:
    """Make each row a window."""
    lengths = {len(row.ids) for row in rows}
    return make_windows(
        [row.ids for row in rows],
        source=name,
        document_digests=[row_digest(row.ids) for row in rows],
        seq_len=lengths.pop() if len(lengths) == 1 else None,
    )


def batches(windows: TokenWindows, batch_size: int) -> Iterator[torch.Tensor]:
    """Yield neighbouring windows of equal length together, `[B, T]` with B at most `batch_size`.

    Windows are never padded: where the length changes, a new batch starts.
    """
    for _, group in groupby(windows.rows, key=len):
        rows = list(group)
        for start in range(0, len(rows), batch_size):
            yield torch.stack(rows[start : start + batch_size])


def check_counts(
    *,
    samples: int | None,
    seq_len: int | None,
    stride: int | None = None,
    seed: int = 0,
    batch_size: int = 1,
) -> None:
    """Raise `UsageError` for numbers that are too small, before any text is read."""
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


def row_digest(row: Ids) -> str:
    """Return the digest of one row of ids."""
    return digest_bytes(row.astype("<i8").tobytes())


def _windows_digest(rows: Sequence[Ids]) -> str:
    """Return the digest of all ids and of the rows' lengths: other cuts are another text."""
    lengths = np.array([len(row) for row in rows], dtype="<i8")
    return digest_bytes(lengths.tobytes(), *(row.astype("<i8").tobytes() for row in rows))
