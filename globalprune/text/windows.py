"""Windows of token ids, and the record that says exactly which ones they are."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
import torch

from globalprune.artifacts.analyses.analysis import TextRecord
from globalprune.artifacts.records import digest_bytes
from globalprune.text.tokens import Ids


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
