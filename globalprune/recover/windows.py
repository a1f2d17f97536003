"""Training windows as what Trainer reads: rows of ids and labels, batched without padding."""

from collections.abc import Sequence

import torch
from torch.utils.data import Dataset

from globalprune.artifacts.records import digest_bytes
from globalprune.text.token_rows import IGNORED
from globalprune.text.training import TrainingText

Row = dict[str, torch.Tensor]


class TrainingWindows(Dataset[Row]):
    """The windows of all sources, one source behind the other; Trainer shuffles them."""

    def __init__(self, texts: Sequence[TrainingText]) -> None:
        self._rows = [
            {"input_ids": ids, "labels": _predicted(labels)}
            for text in texts
            for ids, labels in zip(text.rows, text.labels, strict=True)
        ]

    def __len__(self) -> int:
        """The number of windows."""
        return len(self._rows)

    def __getitem__(self, index: int) -> Row:
        """One window: its ids `[T]`, and its labels `[T]`."""
        return self._rows[index]

    @property
    def is_ragged(self) -> bool:
        """Whether the windows differ in length, so that no two can be stacked."""
        return len({len(row["input_ids"]) for row in self._rows}) > 1

    @property
    def learned_tokens(self) -> int:
        """Tokens that the loss is over, in one epoch."""
        return sum(int((row["labels"][1:] != IGNORED).sum()) for row in self._rows)

    @property
    def digest(self) -> str:
        """`sha256:…` of every id and label, in order, and of the windows' lengths."""
        lengths = torch.tensor([len(row["input_ids"]) for row in self._rows])
        values = (value for row in self._rows for value in row.values())
        return digest_bytes(*(value.numpy().tobytes() for value in (lengths, *values)))


def _predicted(labels: torch.Tensor) -> torch.Tensor:
    """The labels without the first, which nothing predicts: some Trainers would count it."""
    return torch.cat([labels.new_full((1,), IGNORED), labels[1:]])


def stack(rows: Sequence[Row]) -> Row:
    """A batch `[B, T]` of rows of equal length."""
    return {name: torch.stack([row[name] for row in rows]) for name in rows[0]}
