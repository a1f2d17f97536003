"""Watches for numbers that are not finite: an importance made of them would be noise."""

from collections.abc import Sequence

import torch

from globalprune.errors import NonFiniteError
from globalprune.passes.interface import Batch, widened


class FiniteWatch:
    """Notes one sum a window for everything seen, and looks at all of them at once.

    A sum is finite only if every term is, and looking once a batch spares a GPU the waiting.
    """

    def __init__(self) -> None:
        self._seen: list[tuple[str, torch.Tensor]] = []

    def note(self, what: str, values: torch.Tensor) -> None:
        """Note `values [B, ...]`; `what` begins a sentence of the error message."""
        total = widened(values.detach().new_zeros(())).dtype
        self._seen.append((what, values.detach().flatten(1).sum(dim=1, dtype=total)))

    def settle(self, batch: Batch) -> None:
        """Raise `NonFiniteError` for the first thing that was not finite; forget the rest."""
        seen, self._seen = self._seen, []
        if seen and not bool(torch.stack([total.isfinite().all() for _, total in seen]).all()):
            raise NonFiniteError(_message(seen, batch))


def _message(seen: Sequence[tuple[str, torch.Tensor]], batch: Batch) -> str:
    """Say what was not finite, and in which window."""
    for what, totals in seen:
        if not bool(totals.isfinite().all()):
            row = int((~totals.isfinite()).nonzero()[0])
            return (
                f"{what} is not finite in window {batch.first_window + row} of the text; "
                "try --dtype float32 (or bfloat16), and check the model's weights."
            )
    raise AssertionError("everything was finite")
