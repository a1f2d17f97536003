"""What a pass has come to, on disk now and then: stopped, it goes on to the very same numbers.

Accumulators may be as large as the model, so they are written seldom enough to cost a twentieth of
the time at most, a part at a time. A disk that won't take them ends the keeping, not the pass.
"""

import time
from collections.abc import Iterator, Sequence
from typing import Final

import torch
from safetensors import SafetensorError

from globalprune.artifacts.records import Record
from globalprune.artifacts.run_folder import RunFolder
from globalprune.errors import UsageError
from globalprune.statistics.interface import Site, StatisticReducer

PAUSE: Final = 60.0  # seconds without a word on disk, at least
SHARE: Final = 20  # of the time, one part in so many may go into writing
_PART_BYTES: Final = 2**28
_NAME: Final = "pass"


class SoFar(Record):
    """How much of the text is through, and how well it was predicted."""

    windows: int = 0
    predicted: int = 0  # tokens
    nll: float = 0.0  # nats, summed over them

    def after(self, *, windows: int, predicted: int, nll: float) -> "SoFar":
        """With so much more of it."""
        return SoFar(
            windows=self.windows + windows,
            predicted=self.predicted + predicted,
            nll=self.nll + nll,
        )


class KeptPass:
    """When the accumulators of a pass are kept in a run's folder, and what they are restored to.

    `to_its_end` keeps those of the whole pass too, for work behind it.
    """

    def __init__(self, run: RunFolder, *, to_its_end: bool = False) -> None:
        self.trouble: str | None = None  # why nothing is kept any more
        self._run = run
        self._to_its_end = to_its_end
        self._pause = PAUSE
        self._last = time.monotonic()

    def restore(self, reducers: Sequence[StatisticReducer], sites: Sequence[Site]) -> SoFar:
        """Give the reducers what they had; nothing, if nothing was kept."""
        kept = self._run.find_many(_NAME, SoFar)
        if kept is None:
            return SoFar()
        so_far, parts = kept
        for tensors in parts:
            for number, reducer in enumerate(reducers):
                own = f"{number}."
                reducer.restore(
                    {
                        name.removeprefix(own): tensor
                        for name, tensor in tensors.items()
                        if name.startswith(own)
                    },
                    sites,
                )
        return so_far

    def offer(self, reducers: Sequence[StatisticReducer], so_far: SoFar, *, ended: bool) -> None:
        """Keep what there is after these windows, if it is time to."""
        due = self._to_its_end if ended else time.monotonic() - self._last >= self._pause
        if not due or self.trouble is not None:
            return
        begun = time.monotonic()
        try:
            self._run.keep_many(_NAME, _parts(reducers), so_far)
        except (OSError, SafetensorError, UsageError) as error:
            self.trouble = str(error)
        self._last = time.monotonic()
        self._pause = max(self._pause, SHARE * (self._last - begun))


def _parts(reducers: Sequence[StatisticReducer]) -> Iterator[dict[str, torch.Tensor]]:
    """Yield all accumulators in host memory, so many at a time that little more is needed."""
    part: dict[str, torch.Tensor] = {}
    size = 0
    for number, reducer in enumerate(reducers):
        for name, tensor in reducer.state().items():
            part[f"{number}.{name}"] = tensor.to("cpu", copy=True).contiguous()
            size += tensor.nbytes
            if size >= _PART_BYTES:
                yield part
                part, size = {}, 0
    if part:
        yield part
