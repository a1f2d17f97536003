"""The accumulators of a pass on disk: an interrupted pass resumes to bit-identical sums.

Accumulators may be as large as the model, so they are written in parts, and so seldom that writing
takes a twentieth of the time at most. A disk that is full ends the saving, not the pass.
"""

import time
from collections.abc import Iterator, Sequence
from typing import Final

import torch
from safetensors import SafetensorError

from globalprune.artifacts.records import Record
from globalprune.artifacts.run_folder import RunFolder
from globalprune.errors import UsageError
from globalprune.statistics.interface import Reducer, Site

PAUSE: Final = 60.0  # seconds between two savings, at least
SHARE: Final = 20  # saving takes at most 1 / SHARE of the time
_PART_BYTES: Final = 2**28
_NAME: Final = "pass"


class PassTotals(Record):
    """The windows that a pass has run, and the model's loss on them."""

    windows: int = 0
    predicted: int = 0  # tokens
    nll: float = 0.0  # nats, summed over predicted tokens

    def plus(self, *, windows: int, predicted: int, nll: float) -> "PassTotals":
        """Return the totals with another batch."""
        return PassTotals(
            windows=self.windows + windows,
            predicted=self.predicted + predicted,
            nll=self.nll + nll,
        )


class PassCheckpoint:
    """Saves the accumulators of a pass in a run's folder, and restores them.

    With `at_end` those of the whole pass are saved too, for work that follows it.
    """

    def __init__(self, run: RunFolder, *, at_end: bool = False) -> None:
        self.failure: str | None = None  # why nothing is saved any more
        self._run = run
        self._at_end = at_end
        self._pause = PAUSE
        self._last = time.monotonic()

    def load(self, reducers: Sequence[Reducer], sites: Sequence[Site]) -> PassTotals:
        """Restore the reducers and return the totals; both start at zero if nothing is saved."""
        saved = self._run.load_parts(_NAME, PassTotals)
        if saved is None:
            return PassTotals()
        totals, parts = saved
        for tensors in parts:
            for number, reducer in enumerate(reducers):
                own = f"{number}."
                state = {
                    name.removeprefix(own): tensor
                    for name, tensor in tensors.items()
                    if name.startswith(own)
                }
                reducer.load_state_dict(state, sites)
        return totals

    def save_if_due(self, reducers: Sequence[Reducer], totals: PassTotals, *, ended: bool) -> None:
        """Save the accumulators after these windows, if it is time to."""
        due = self._at_end if ended else time.monotonic() - self._last >= self._pause
        if not due or self.failure is not None:
            return
        started = time.monotonic()
        try:
            self._run.save_parts(_NAME, _parts(reducers), totals)
        except (OSError, SafetensorError, UsageError) as error:
            self.failure = str(error)
        self._last = time.monotonic()
        self._pause = max(self._pause, SHARE * (self._last - started))


def _parts(reducers: Sequence[Reducer]) -> Iterator[dict[str, torch.Tensor]]:
    """Yield all accumulators in host memory, about `_PART_BYTES` at a time."""
    part: dict[str, torch.Tensor] = {}
    size = 0
    for number, reducer in enumerate(reducers):
        for name, tensor in reducer.state_dict().items():
            part[f"{number}.{name}"] = tensor.to("cpu", copy=True).contiguous()
            size += tensor.nbytes
            if size >= _PART_BYTES:
                yield part
                part, size = {}, 0
    if part:
        yield part
