"""Compensation from front to back: each sublayer on the pruned stream that reaches it.

gp apply compensates what it is about to write; gp analyze --given compensates the model that it
measures. Both run `compensate`.

The first token of a window is like no other: attention rests on it (attention sinks,
arXiv:2309.17453), and a few channels make it a thousand times larger than the rest (massive
activations, arXiv:2402.17762). N windows show N such tokens, too few for weights fitted to them to
hold for another one. So compensation is also fitted to window starts: short windows that start
elsewhere in the same text. Where every window starts with the same token they teach nothing.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch.nn import functional

from globalprune.artifacts.plans.index_set import IndexSet
from globalprune.artifacts.plans.plan_effect import PlanEffect
from globalprune.artifacts.results.cut import CompensatedModule
from globalprune.compensation.final_norm import LogitScales, compensate_final_norm
from globalprune.compensation.sublayer_weights import (
    CompensatedWeights,
    SublayerWeights,
    compensate_sublayer,
)
from globalprune.errors import UsageError
from globalprune.progress import Progress
from globalprune.statistics.hooks import frozen
from globalprune.sublayers.residual_stream import (
    StreamBatch,
    SublayerModel,
    check_composition,
    stream_batches,
)
from globalprune.sublayers.sublayer import Sublayer, gate_and_up
from globalprune.text.windows import TokenWindows

VALIDATION_EVERY: Final = 16  # one window of so many validates; the others are fitted to
_START_EVERY: Final = 32  # tokens of a window that is fitted to
_START_LENGTH: Final = 4  # tokens
StoredWeight = Callable[[str], torch.Tensor]  # a weight of the uncut model by its name


@dataclass(frozen=True)
class Compensated:
    """What compensation did: a record of each sublayer, and the scales for the final norm.

    `logit_scales` is None where nothing is cut, or where the head does not read the final norm.
    """

    modules: tuple[CompensatedModule, ...]
    logit_scales: LogitScales | None


@torch.no_grad()
def compensate(
    model: SublayerModel,
    effect: PlanEffect,
    windows: TokenWindows,
    weights: CompensatedWeights,
    stored: StoredWeight,
    *,
    batch_size: int,
    gate_steps: int,
    progress: Progress,
) -> Compensated:
    """Compensate a cut of the model, fitted to and validated on `windows`.

    The model itself stays uncut. Compensated weights go into `weights`; those that lie there are
    used as they are. Raises `UsageError` for a single window, and what `check_composition` and
    `compensate_sublayer` raise.
    """
    with frozen(model.module):
        check_composition(model, windows.rows[0][None].to(model.module.device))
        batches = compensation_streams(model, windows, batch_size=batch_size)
        modules = compensate_sublayers(
            model.sublayers,
            effect,
            batches,
            weights,
            stored,
            gate_steps=gate_steps,
            progress=progress,
        )
        scales = compensate_final_norm(model, batches, windows.rows[0])
    return Compensated(modules, scales)


@torch.no_grad()
def compensate_sublayers(
    sublayers: Sequence[Sublayer],
    effect: PlanEffect,
    batches: Sequence[StreamBatch],
    weights: CompensatedWeights,
    stored: StoredWeight,
    *,
    gate_steps: int,
    progress: Progress,
) -> tuple[CompensatedModule, ...]:
    """Run both streams through all sublayers, and compensate those that the cut leaves a part of.

    `stored` reads a weight as the checkpoint has it: what can't be improved keeps those bits, and
    the pruned stream runs with the weights as they will be saved.
    """
    walk = _Walk(weights, stored, gate_steps)
    modules = []
    for sublayer in progress(
        sublayers, total=len(sublayers), label="compensating", unit="sublayers"
    ):
        layer, group_type = sublayer.key
        module = walk.advance(sublayer, effect.layers[layer].of(group_type), batches)
        if module is not None:
            modules.append(module)
    return tuple(modules)


def compensation_streams(
    model: SublayerModel, windows: TokenWindows, *, batch_size: int
) -> list[StreamBatch]:
    """The streams of the windows in front of the first layer, and then those of window starts.

    Raise `UsageError` for a single window.
    """
    streams = stream_batches(
        model, windows, batch_size=batch_size, held_out_every=validation_every(windows)
    )
    starts = window_starts(windows)
    if starts.rows:
        same_tokens = batch_size * max(1, len(windows.rows[0]) // _START_LENGTH)
        streams += stream_batches(model, starts, batch_size=same_tokens)
    return streams


def validation_every(windows: TokenWindows) -> int:
    """One window of how many validates: at least one does.

    Raise `UsageError` for a single window, which can't be both fitted to and validated on.
    """
    if len(windows.rows) < 2:  # noqa: PLR2004 - one to fit to, one to validate on
        raise UsageError(
            "compensation: a single window of text can't be both fitted to and validated on; say "
            "--samples 2 at least, better 128."
        )
    return min(VALIDATION_EVERY, len(windows.rows))


def window_starts(windows: TokenWindows) -> TokenWindows:
    """Short windows out of those that are fitted to; none where all start with the same token."""
    every = validation_every(windows)
    rows = [
        row[start : start + _START_LENGTH]
        for number, row in enumerate(windows.rows)
        if number % every != every - 1
        for start in range(_START_EVERY, len(row) - _START_LENGTH + 1, _START_EVERY)
    ]
    same_first = len({int(row[0]) for row in windows.rows}) == 1
    return TokenWindows(() if same_first else tuple(rows), windows.record)


@dataclass(frozen=True)
class _Walk:
    """What is the same for all sublayers."""

    weights: CompensatedWeights
    stored: StoredWeight
    gate_steps: int

    def advance(
        self, sublayer: Sublayer, kept: IndexSet, batches: Sequence[StreamBatch]
    ) -> CompensatedModule | None:
        """Run both streams through one sublayer; return its record if it is compensated."""
        output = sublayer.output
        whole = len(kept) == sublayer.groups
        if whole and all(batch.is_uncut for batch in batches):
            for batch in batches:
                batch.dense = batch.pruned = sublayer.advance(batch.dense, batch.calls)
            return None
        for batch in batches:
            batch.advance_dense(sublayer)
        if sublayer.experts:
            _advance_experts(sublayer, kept, batches)
            return None
        if output is None or not kept:
            _advance_empty(sublayer, batches)
            return None
        columns = sublayer.columns(kept).to(sublayer.device)
        compensated = self.weights.load(sublayer.key)
        if compensated is None:
            stored = self._stored_weights(sublayer, columns)
            compensated = compensate_sublayer(
                sublayer, output, columns, stored, batches, self.gate_steps
            )
            self.weights.save(compensated)
        weight = compensated.weights.output.to(output.weight)
        for batch in batches:
            pruned = batch.pruned.to(sublayer.device)
            inputs = compensated.weights.inputs(sublayer, pruned, batch.calls, columns)
            product = functional.linear(inputs, weight, output.bias)
            batch.pruned = (pruned + sublayer.to_residual(product)).cpu()
        return compensated.record

    def _stored_weights(self, sublayer: Sublayer, columns: torch.Tensor) -> SublayerWeights:
        """The checkpoint's weights of the kept inputs; gate and up only if they may change."""
        output = self.stored(sublayer.output_name).to(sublayer.device)[:, columns]
        if sublayer.gating is None or not self.gate_steps:
            return SublayerWeights(output)
        gate, up = gate_and_up([self.stored(name) for name in sublayer.gating.names])
        return SublayerWeights(
            output, (gate.to(sublayer.device)[columns], up.to(sublayer.device)[columns])
        )


def _advance_experts(sublayer: Sublayer, kept: IndexSet, batches: Sequence[StreamBatch]) -> None:
    """Run the pruned stream through what is left of a mixture; experts are not compensated."""
    with sublayer.only_experts(kept):
        for batch in batches:
            batch.pruned = sublayer.advance(batch.pruned, batch.calls)


def _advance_empty(sublayer: Sublayer, batches: Sequence[StreamBatch]) -> None:
    """Run the pruned stream through an emptied sublayer: its output bias is all that is left."""
    for batch in batches:
        if sublayer.output is None:
            batch.pruned = sublayer.advance(batch.pruned, batch.calls)
        elif sublayer.output.bias is not None:
            bias = sublayer.output.bias[None, None]
            batch.pruned = batch.pruned + sublayer.to_residual(bias).cpu()
