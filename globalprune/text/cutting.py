"""Cutting a row of token ids into windows: how many fit, and what a window looks like."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt
from transformers import PreTrainedTokenizerBase

from globalprune.errors import UsageError
from globalprune.text.rows import Column
from globalprune.text.token_rows import SHORTEST
from globalprune.text.tokens import Ids, adds_bos

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
        "--seq-len": (seq_len, SHORTEST),
        "--stride": (stride, 1),
        "--seed": (seed, 0),
        "--batch-size": (batch_size, 1),
    }
    for option, (value, minimum) in least.items():
        if value is not None and value < minimum:
            raise UsageError(f"{option} {value}: must be at least {minimum}.")


@dataclass(frozen=True)
class WindowShape:
    """A window of `seq_len` ids; `body` of them are text, one fewer where a BOS leads."""

    seq_len: int
    bos: int | None

    @classmethod
    def of(
        cls, tokenizer: PreTrainedTokenizerBase, seq_len: int, column: Column = Column.TEXT
    ) -> "WindowShape":
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
