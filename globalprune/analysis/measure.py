"""The measurement: statistics of all importances, removal orders, the table, loss curves."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from globalprune.analysis.prior_plan import Given
from globalprune.analysis.request import Subject
from globalprune.artifacts.analyses.group_table import ANALYSIS_KEY, GroupTable
from globalprune.artifacts.analyses.loss_curves import Curves
from globalprune.artifacts.analyses.normalisers import NormaliserName
from globalprune.artifacts.analyses.reliability import Reliability, reliability_of
from globalprune.artifacts.run_folder import RunFolder
from globalprune.artifacts.structure import GROUP_TYPES, ModelStructure, SublayerStructure
from globalprune.importance import Importance
from globalprune.obs.order_groups import Removal, removal_of
from globalprune.obs.removal_order import measured_losses
from globalprune.obs.trials import Trials, removal_trials
from globalprune.progress import Progress
from globalprune.statistics.checkpointing import KeptPass
from globalprune.statistics.collect import Collected, collect
from globalprune.statistics.hooks import find_sites, frozen
from globalprune.statistics.interface import Collectable, GroupSums, Split, Statistic, SublayerKey
from globalprune.statistics.loss import LabelDraw
from globalprune.sublayers.residual_stream import layers_of, sublayers_of
from globalprune.text.windows import TokenWindows


@dataclass(frozen=True)
class Ordered:
    """Every sublayer's order of removal, and what trials of it came to, if there were any."""

    removal: Removal
    trials: Trials

    def losses(self) -> Split[dict[Statistic, GroupSums]]:
        """The losses of all groups as statistics, as predicted and as measured.

        By each half of the windows there are only predictions: too few windows judge the trials.
        """
        predicted, scaled = self.removal.losses, {}
        for place, order in self.removal.orders.items():
            if place in self.trials:
                scaled[place] = measured_losses(order, self.trials[place]).by_group
        if self.removal.halves is None:
            return Split(_named(predicted, scaled))
        first, second = (_named(half, half) for half in self.removal.halves)
        return Split(_named(predicted, scaled), (first, second))


def order_groups(
    loaded: Any,
    subject: Subject,
    windows: TokenWindows,
    curvature: Split[GroupSums],
    *,
    trying: bool,
    batch_size: int,
    work: RunFolder,
    progress: Progress,
) -> Ordered:
    """Order the groups of all sublayers, and try some removals if asked.

    `work` keeps what is found, and what lies there is not looked for again.
    """
    layers = layers_of(loaded, subject.adapter, subject.structure)
    sublayers = sublayers_of(loaded, subject.adapter, subject.structure)
    running = (loaded, layers, sublayers, windows)
    with frozen(loaded):
        removal = removal_of(
            *running,
            curvature,
            batch_size=batch_size,
            kept=work.part("orders"),
            progress=progress,
        )
        trials: Trials = {}
        if trying:
            trials = removal_trials(
                *running,
                removal.orders,
                batch_size=batch_size,
                kept=work.part("trials"),
                progress=progress,
            )
    return Ordered(removal, trials)


def _named(predicted: GroupSums, scaled: GroupSums) -> dict[Statistic, GroupSums]:
    """Losses by the names of the statistics that they are."""
    measured: dict[Statistic, GroupSums] = {"measured_removal_loss": scaled} if scaled else {}
    return {"removal_loss": predicted, **measured}


@dataclass(frozen=True)
class Measuring:
    """How a model is measured."""

    windows: TokenWindows
    methods: Sequence[Importance]
    batch_size: int
    draw: LabelDraw | None
    work: RunFolder  # where what there is so far is kept, and gone on from
    progress: Progress

    def needs(self) -> set[Statistic]:
        """The statistics of all methods together."""
        return {need for method in self.methods for need in method.needs}


@dataclass(frozen=True)
class Measured:
    """The statistics, and the order of removal of every sublayer if it was asked for."""

    collected: Collected
    ordered: Ordered | None
    trouble: str | None  # why not all could be kept meanwhile


def measure(loaded: Any, subject: Subject, how: Measuring, given: Given | None = None) -> Measured:
    """Collect in one pass what all methods need together, then order the groups if need be.

    Groups that are gone by a `given` plan count as nothing.
    """
    needs = how.needs()
    collectable: set[Collectable] = set()
    for need in needs:
        if need != "removal_loss" and need != "measured_removal_loss":  # noqa: PLR1714 - narrows
            collectable.add(need)
    ordering = len(collectable) < len(needs)
    kept = KeptPass(how.work, to_its_end=ordering)
    collected = collect(
        loaded,
        how.windows,
        find_sites(loaded, subject.adapter, subject.structure, subject.layers),
        collectable | {"output_curvature"} if ordering else collectable,
        batch_size=how.batch_size,
        draw=how.draw,
        kept=kept,
        progress=how.progress,
    )
    ordered = None
    if ordering:
        ordered = order_groups(
            loaded,
            subject,
            how.windows,
            _curvature(collected),
            trying="measured_removal_loss" in needs,
            batch_size=how.batch_size,
            work=how.work,
            progress=how.progress,
        )
        collected = _with_losses(collected, ordered.losses())
    if given is not None:
        collected = _of_what_stands(collected, given)
    return Measured(collected, ordered, kept.trouble)


def _curvature(collected: Collected) -> Split[GroupSums]:
    """The curvature at the outputs, of all windows and of each half of them."""
    halves = collected.halves
    return Split(
        collected.sums["output_curvature"],
        halves and (halves[0]["output_curvature"], halves[1]["output_curvature"]),
    )


def _with_losses(collected: Collected, losses: Split[dict[Statistic, GroupSums]]) -> Collected:
    """The statistics, with the losses that orders of removal give."""
    halves = collected.halves
    if halves is not None and losses.halves is not None:
        halves = (halves[0] | losses.halves[0], halves[1] | losses.halves[1])
    return replace(collected, sums=collected.sums | losses.whole, halves=halves)


def _of_what_stands(collected: Collected, given: Given) -> Collected:
    """The statistics, zero wherever a group is gone."""
    halves = collected.halves
    return replace(
        collected,
        sums=_zeroed(collected.sums, given),
        halves=halves and (_zeroed(halves[0], given), _zeroed(halves[1], given)),
    )


def _zeroed(sums: Mapping[Statistic, GroupSums], given: Given) -> dict[Statistic, GroupSums]:
    """All statistics of groups, with zeros for those that are gone."""
    return {
        name: {sublayer: given.standing(sublayer, values) for sublayer, values in values_of.items()}
        for name, values_of in sums.items()
        if name != "output_curvature"  # of outputs, and used by now
    }


def build_table(
    structure: ModelStructure,
    layers: range,
    methods: Sequence[Importance],
    statistics: Mapping[Statistic, GroupSums],
    normaliser: NormaliserName = "none",
    identity: str = "",
) -> GroupTable:
    """Make the table, scored by the first method; `identity` is that of the analysis."""
    sublayers = [
        ((layer, group_type), sublayer)
        for layer, group_type, sublayer in structure.sublayers()
        if layer in layers and sublayer.candidates
    ]
    importances = {
        method.name: torch.cat(
            [_combined(method, statistics, sublayer) for sublayer, _ in sublayers]
        )
        for method in methods
    }
    return GroupTable.build(
        **_facts(sublayers),
        importances={name: values.cpu().numpy() for name, values in importances.items()},
        metadata={ANALYSIS_KEY: identity},
        normaliser=normaliser,
    )


def _combined(
    method: Importance, statistics: Mapping[Statistic, GroupSums], sublayer: SublayerKey
) -> torch.Tensor:
    """One method's importance of one sublayer's groups."""
    return method.combine({need: statistics[need][sublayer] for need in method.needs})


def _facts(sublayers: Sequence[tuple[SublayerKey, SublayerStructure]]) -> dict[str, np.ndarray]:
    """What of a row no text changes: which group it is, and its parameters."""
    return {
        "layer_idx": np.concatenate(
            [np.full(sublayer.groups, layer) for (layer, _), sublayer in sublayers]
        ),
        "group_type": np.concatenate(
            [np.full(sublayer.groups, GROUP_TYPES.index(kind)) for (_, kind), sublayer in sublayers]
        ),
        "group_idx": np.concatenate([np.arange(sublayer.groups) for _, sublayer in sublayers]),
        "cost": np.concatenate(
            [np.full(sublayer.groups, sublayer.cost) for _, sublayer in sublayers]
        ),
    }


def curves_of(ordered: Ordered, structure: ModelStructure) -> Curves:
    """Return the removals of every sublayer in order, with their known cumulative losses."""
    parts = []
    for (layer, group_type), order in ordered.removal.orders.items():
        count = len(order.groups)
        steps = np.arange(1, count + 1)
        measured = np.full(count, np.nan)
        for removed, nats in ordered.trials.get((layer, group_type), {}).items():
            measured[removed - 1] = nats
        parts.append(
            {
                "layer_idx": np.full(count, layer, np.int32),
                "group_type": np.full(count, GROUP_TYPES.index(group_type), np.int8),
                "removed_groups": steps.astype(np.int32),
                "group_idx": order.groups.numpy().astype(np.int32),
                "removed_params": steps * structure.layers[layer].sublayer(group_type).cost,
                "predicted_nats": order.losses.cumsum(0).numpy(),
                "measured_nats": measured,
            }
        )
    columns = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    return Curves(**columns)


Statistics = Mapping[Statistic, GroupSums]


def reliabilities(
    structure: ModelStructure,
    layers: range,
    methods: Sequence[Importance],
    halves: tuple[Statistics, Statistics] | None,
    normalisers: Mapping[str, NormaliserName],
) -> dict[str, Reliability]:
    """By method, each through its normaliser; none where the text is a single window."""
    if halves is None:
        return {}
    found = {}
    for method in methods:
        normaliser = normalisers.get(method.name, "none")
        tables = [build_table(structure, layers, [method], half, normaliser) for half in halves]
        rows = [np.concatenate(list(table.sublayers.values())) for table in tables]  # in one order
        first, second = (table.score[order] for table, order in zip(tables, rows, strict=True))
        costs = tables[0].cost[rows[0]]
        found[method.name] = reliability_of(first, second, costs, structure.parameters)
    return found
