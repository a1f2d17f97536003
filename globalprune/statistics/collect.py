"""One pass of calibration windows through a model, and the statistics that it collects.

An interrupted pass resumes from its accumulators on disk, to bit-identical sums. They may be as
large as the model, so they are written in parts, and so seldom that writing takes a twentieth of
the time at most. A disk that is full ends the saving, not the pass.
"""

import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import torch
from safetensors import SafetensorError

from globalprune.artifacts.records import Record
from globalprune.artifacts.run_folder import RunFolder
from globalprune.errors import UsageError
from globalprune.progress import Progress, silent
from globalprune.statistics.hooks import HookManager, frozen
from globalprune.statistics.interface import (
    Batch,
    Counts,
    GroupSums,
    PassStatistic,
    Reducer,
    Site,
    Split,
    Statistic,
)
from globalprune.statistics.loss import Head, LabelDraw, head_gradient, head_of, hidden_states
from globalprune.statistics.reducers.activations import InputRms, magnitudes
from globalprune.statistics.reducers.fisher import GateFisher, OutputCurvature, WinsorisedGateFisher
from globalprune.statistics.reducers.taylor import Curvature, FirstOrder
from globalprune.text.windows import TokenWindows, batches

PAUSE: Final = 60.0  # seconds between two savings, at least
SHARE: Final = 20  # saving takes at most 1 / SHARE of the time
_PART_BYTES: Final = 2**28
_KEY: Final = "pass"  # its name in a run folder


@dataclass(frozen=True)
class Collected:
    """One float64 number for every group and every statistic, and the model's loss on the text."""

    statistics: dict[Statistic, Split[GroupSums]]
    loss: float | None  # nats a predicted token; None where no gradient was needed

    @property
    def sums(self) -> dict[Statistic, GroupSums]:
        """The statistics over all windows."""
        return {name: split.whole for name, split in self.statistics.items()}

    @property
    def halves(self) -> tuple[dict[Statistic, GroupSums], dict[Statistic, GroupSums]] | None:
        """The statistics over each half of the windows; None for a single window."""
        halves = {name: split.halves for name, split in self.statistics.items()}
        split = {name: each for name, each in halves.items() if each is not None}
        if len(split) < len(halves):
            return None
        first, second = ({name: each[which] for name, each in split.items()} for which in (0, 1))
        return first, second


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
        saved = self._run.load_parts(_KEY, PassTotals)
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
            self._run.save_parts(_KEY, _parts(reducers), totals)
        except (OSError, SafetensorError, UsageError) as error:
            self.failure = str(error)
        self._last = time.monotonic()
        self._pause = max(self._pause, SHARE * (self._last - started))


def collect(
    model: Any,
    windows: TokenWindows,
    sites: Sequence[Site],
    needs: Collection[PassStatistic],
    *,
    batch_size: int,
    draw: LabelDraw | None = None,
    checkpoint: PassCheckpoint | None = None,
    progress: Progress = silent,
) -> Collected:
    """Collect these statistics in one pass; it runs backward only if one needs a gradient.

    Gradients are those of the text's own next tokens, or of labels that `draw` draws. The pass
    resumes from `checkpoint` if one over the same windows was interrupted. The model is left as it
    was.

    Raises:
        NonFiniteError: an activation, a gradient or the loss is not finite; it names the first.
    """
    reducers = _reducers(needs)

    def end_first_half() -> None:
        for reducer in reducers:
            reducer.end_first_half()

    totals = run_pass(
        model,
        windows,
        sites,
        reducers,
        batch_size=batch_size,
        draw=draw,
        at_midpoint=end_first_half,
        checkpoint=checkpoint,
        progress=progress,
    )
    counts = _counts(windows.rows)
    statistics: dict[Statistic, Split[GroupSums]] = {}
    for reducer in reducers:
        statistics.update(reducer.finish(counts))
    if "magnitude" in needs:
        sums = magnitudes(sites)
        statistics["magnitude"] = Split(sums, counts.halves and (sums, sums))
    needs_loss = any(reducer.gradient_at for reducer in reducers)
    return Collected(statistics, totals.nll / totals.predicted if needs_loss else None)


def run_pass(
    model: Any,
    windows: TokenWindows,
    sites: Sequence[Site],
    reducers: Sequence[Reducer],
    *,
    batch_size: int,
    draw: LabelDraw | None = None,
    at_midpoint: Callable[[], None] | None = None,
    checkpoint: PassCheckpoint | None = None,
    progress: Progress,
) -> PassTotals:
    """Run every window once: forward, and backward if a reducer needs gradients.

    The loss in the totals is always the text's, whatever labels `draw` draws. `at_midpoint` is
    called between the two halves of the windows. Nothing runs without reducers. Raises
    `NonFiniteError` as `collect` does.
    """
    count = len(windows.rows)
    middle = count if at_midpoint is None else midpoint(count)
    totals = PassTotals() if checkpoint is None else checkpoint.load(reducers, sites)
    remaining = _remaining(_batches(windows, middle, batch_size), totals) if reducers else []
    backward = any(reducer.gradient_at for reducer in reducers)
    hooks = HookManager(reducers)
    with frozen(model), torch.set_grad_enabled(backward):
        head = head_of(model, windows.rows[0]) if backward and remaining else None
        with hooks.attached(sites):
            for ids in progress(remaining, total=len(remaining), label="measuring", unit="batches"):
                rows, predicted = ids.shape[0], ids.shape[1] - 1
                hooks.batch = Batch(totals.windows, rows, predicted)
                nll = _run_batch(model, ids.to(model.device), hooks, head, draw)
                totals = totals.plus(windows=rows, predicted=rows * predicted, nll=nll)
                if at_midpoint is not None and totals.windows == middle < count:
                    at_midpoint()
                if checkpoint is not None:
                    checkpoint.save_if_due(reducers, totals, ended=totals.windows == count)
    return totals


def midpoint(windows: int) -> int:
    """Return how many of so many windows are the first half."""
    return (windows + 1) // 2


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


def _batches(windows: TokenWindows, middle: int, batch_size: int) -> list[torch.Tensor]:
    """Return the batches; none of them reaches over the middle."""
    parts = (windows.rows[:middle], windows.rows[middle:])
    return [ids for rows in parts for ids in batches(replace(windows, rows=rows), batch_size)]


def _remaining(of_all: list[torch.Tensor], totals: PassTotals) -> list[torch.Tensor]:
    """Return the batches behind the windows that have run."""
    windows = totals.windows
    for number, ids in enumerate(of_all):
        if windows <= 0:
            return of_all[number:]
        windows -= len(ids)
    return []


def _run_batch(
    model: Any, ids: torch.Tensor, hooks: HookManager, head: Head | None, draw: LabelDraw | None
) -> float:
    """Run one batch, backward if there is a `head`; return its summed nll, or 0 without a head."""
    hidden = hidden_states(model, ids)
    hooks.detector.check(hooks.batch)
    if head is None:
        return 0.0
    start = head_gradient(head, hidden, ids, draw, first_window=hooks.batch.first_window)
    hooks.detector.observe("the loss", start.nll[:, None])
    hooks.detector.check(hooks.batch)
    hooks.batch = replace(hooks.batch, scale=start.scale)
    torch.autograd.backward(hidden, start.gradient)
    hooks.detector.check(hooks.batch)
    return float(start.nll.sum())


def _counts(rows: Sequence[torch.Tensor]) -> Split[Counts]:
    """Return how much text the windows are, and each half of them."""
    if len(rows) == 1:
        return Split(_count(rows))
    middle = midpoint(len(rows))
    return Split(_count(rows), (_count(rows[:middle]), _count(rows[middle:])))


def _count(rows: Sequence[torch.Tensor]) -> Counts:
    tokens = sum(len(row) for row in rows)
    return Counts(windows=len(rows), tokens=tokens, predicted=tokens - len(rows))


def _reducers(needs: Collection[PassStatistic]) -> list[Reducer]:
    """Return the reducers of these statistics; each product of gradients is formed once."""
    reducers: list[Reducer] = []
    if "curvature" in needs:
        reducers.append(Curvature(FirstOrder() if "first_order" in needs else None))
    elif "first_order" in needs:
        reducers.append(FirstOrder())
    if "gate_fisher" in needs:
        reducers.append(GateFisher())
    if "gate_fisher_winsorised" in needs:
        reducers.append(WinsorisedGateFisher())
    if "output_curvature" in needs:
        reducers.append(OutputCurvature())
    if "input_rms" in needs:
        reducers.append(InputRms())
    return reducers
