"""The measurement: statistics of all importances, removal orders, the table, loss curves."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from globalprune.analysis.prior_plan import PriorPlan
from globalprune.analysis.request import Subject
from globalprune.artifacts.analyses.group_table import GroupTable
from globalprune.artifacts.analyses.loss_curves import Curves
from globalprune.artifacts.analyses.normalisers import NormaliserName
from globalprune.artifacts.analyses.reliability import Reliability, reliability_of
from globalprune.artifacts.run_folder import RunFolder
from globalprune.artifacts.structure import GROUP_TYPES, ModelStructure, SublayerStructure
from globalprune.importance import Importance
from globalprune.obs.removal_order import RemovalOrders, measured_losses, order_sublayers
from globalprune.obs.trials import Trials, removal_trials
from globalprune.progress import Progress
from globalprune.statistics.collect import Collected, PassCheckpoint, collect
from globalprune.statistics.hooks import find_sites, frozen
from globalprune.statistics.interface import (
    PASS_STATISTICS,
    GroupSums,
    Split,
    Statistic,
    SublayerKey,
)
from globalprune.statistics.loss import LabelDraw
from globalprune.sublayers.residual_stream import sublayer_model
from globalprune.text.windows import TokenWindows


@dataclass(frozen=True)
class Ordered:
    """The order of removal of every sublayer, and the losses that trials of it measured, if any."""

    removal: RemovalOrders
    trials: Trials

    def statistics(self) -> dict[Statistic, Split[GroupSums]]:
        """Return the losses of all groups, as predicted and, where there are trials, as measured.

        Over each half of the windows both are predictions: too few windows judge the trials.
        """
        predicted, halves = self.removal.losses, self.removal.halves
        statistics: dict[Statistic, Split[GroupSums]] = {"removal_loss": Split(predicted, halves)}
        measured = {
            sublayer: measured_losses(order, self.trials[sublayer]).by_group
            for sublayer, order in self.removal.orders.items()
            if sublayer in self.trials
        }
        if measured:
            statistics["measured_removal_loss"] = Split(measured, halves)
        return statistics


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
    """Order the groups of all sublayers, and with `trying` measure some removals.

    `work` keeps the results, and those that are in it are not computed again.
    """
    model = sublayer_model(loaded, subject.adapter, subject.structure)
    with frozen(loaded):
        removal = order_sublayers(
            model,
            windows,
            curvature,
            batch_size=batch_size,
            kept=work.subfolder("orders"),
            progress=progress,
        )
        trials: Trials = {}
        if trying:
            trials = removal_trials(
                model,
                windows,
                removal.orders,
                batch_size=batch_size,
                kept=work.subfolder("trials"),
                progress=progress,
            )
    return Ordered(removal, trials)


@dataclass(frozen=True)
class Measuring:
    """How a model is measured."""

    windows: TokenWindows
    methods: Sequence[Importance]
    batch_size: int
    draw: LabelDraw | None
    work: RunFolder  # where the work so far is kept, and resumed
    progress: Progress

    def needs(self) -> set[Statistic]:
        """The statistics of all methods together."""
        return {need for method in self.methods for need in method.needs}


@dataclass(frozen=True)
class Measured:
    """All statistics, and the removal order of every sublayer if an importance needs it."""

    collected: Collected
    ordered: Ordered | None
    save_failure: str | None  # why the pass could not be saved on the way


def measure(
    loaded: Any, subject: Subject, how: Measuring, prior: PriorPlan | None = None
) -> Measured:
    """Collect in one pass what all methods need, then order the groups if a method needs it.

    Statistics of groups that a prior plan removes are zero.
    """
    needs = how.needs()
    in_pass = {need for need in PASS_STATISTICS if need in needs}
    ordering = len(in_pass) < len(needs)
    checkpoint = PassCheckpoint(how.work, at_end=ordering)
    collected = collect(
        loaded,
        how.windows,
        find_sites(loaded, subject.adapter, subject.structure, subject.layers),
        in_pass | {"output_curvature"} if ordering else in_pass,
        batch_size=how.batch_size,
        draw=how.draw,
        checkpoint=checkpoint,
        progress=how.progress,
    )
    statistics, ordered = dict(collected.statistics), None
    if ordering:
        ordered = order_groups(
            loaded,
            subject,
            how.windows,
            statistics.pop("output_curvature"),
            trying="measured_removal_loss" in needs,
            batch_size=how.batch_size,
            work=how.work,
            progress=how.progress,
        )
        statistics |= ordered.statistics()
    if prior is not None:
        statistics = {name: _kept_only(split, prior) for name, split in statistics.items()}
    return Measured(replace(collected, statistics=statistics), ordered, checkpoint.failure)


def _kept_only(split: Split[GroupSums], prior: PriorPlan) -> Split[GroupSums]:
    """Return a statistic with zeros for the groups that the plan removes."""
    whole, *halves = (
        {sublayer: prior.kept_only(sublayer, values) for sublayer, values in sums.items()}
        for sums in (split.whole, *(split.halves or ()))
    )
    return Split(whole, (halves[0], halves[1]) if halves else None)


def build_table(
    structure: ModelStructure,
    layers: range,
    methods: Sequence[Importance],
    statistics: Mapping[Statistic, GroupSums],
    normaliser: NormaliserName = "none",
) -> GroupTable:
    """Return the table of these layers, scored by the first method."""
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
        metadata={},
        normaliser=normaliser,
    )


def _combined(
    method: Importance, statistics: Mapping[Statistic, GroupSums], sublayer: SublayerKey
) -> torch.Tensor:
    """Return one method's importance of one sublayer's groups, `[groups]`."""
    return method.combine({need: statistics[need][sublayer] for need in method.needs})


def _facts(sublayers: Sequence[tuple[SublayerKey, SublayerStructure]]) -> dict[str, np.ndarray]:
    """Return the columns that depend on no text: which group a row is, and its parameters."""
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
    """Return the reliability of each method, through its normaliser; empty without halves."""
    if halves is None:
        return {}
    by_method = {}
    for method in methods:
        normaliser = normalisers.get(method.name, "none")
        tables = [build_table(structure, layers, [method], half, normaliser) for half in halves]
        rows = [np.concatenate(list(table.sublayers.values())) for table in tables]  # in one order
        first, second = (table.score[order] for table, order in zip(tables, rows, strict=True))
        costs = tables[0].cost[rows[0]]
        by_method[method.name] = reliability_of(first, second, costs, structure.parameters)
    return by_method
