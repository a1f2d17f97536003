"""The figures of a plan: lost importance, optimality gap, resources, and its header."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from globalprune.artifacts.analyses.analysis import Analysis, Scoring, scored_table
from globalprune.artifacts.analyses.group_table import GroupTable
from globalprune.artifacts.plans.budgets import BudgetStatus, statuses_of
from globalprune.artifacts.plans.index_set import IndexSet
from globalprune.artifacts.plans.plan import Budgets, PrunePlan
from globalprune.artifacts.plans.plan_effect import PlanEffect, removed_by
from globalprune.artifacts.plans.plan_summary import plan_scoring
from globalprune.artifacts.stored_weights import StoredWeights
from globalprune.artifacts.structure import GROUP_TYPES, GroupType, ModelStructure
from globalprune.planning.knapsack import Knapsack, fractional_bound
from globalprune.planning.options import with_stored_dtype


@dataclass(frozen=True)
class ImportanceByGroup:
    """Looks up what groups are worth; sums of importance are no perplexity."""

    scoring: Scoring
    table: GroupTable  # scored so
    sublayers: dict[tuple[int, GroupType], NDArray[np.float64]]  # by group_idx

    @classmethod
    def of(cls, table: GroupTable, scoring: Scoring) -> "ImportanceByGroup":
        """Take the table's importances apart by its sublayers."""
        sublayers = {sublayer: table.importance[rows] for sublayer, rows in table.sublayers.items()}
        return cls(scoring, table, sublayers)

    @property
    def total(self) -> float:
        """Of all measured groups."""
        return float(self.table.importance.sum())

    def sum_of(self, layer: int, kind: GroupType, indices: NDArray[np.int64]) -> float | None:
        """The importance of these groups together; None where the sublayer was not measured."""
        sublayer = self.sublayers.get((layer, kind))
        if sublayer is None:
            return None if len(indices) else 0.0
        return float(sublayer[indices].sum())


def importance_of(plan: PrunePlan, analysis: Analysis) -> tuple[ImportanceByGroup, str]:
    """The importance that the plan was made by, and a doubt where the table lacks it by now."""
    scoring, doubt = plan_scoring(plan, analysis)
    return ImportanceByGroup.of(scored_table(analysis, scoring), scoring), doubt


_ROUNDING: Final = 1e-12  # of sums in two orders


@dataclass(frozen=True)
class Optimality:
    """What a plan keeps of the summed importance, and what any plan of its size could keep."""

    total: float
    lost: float
    least: float  # lost by every plan that removes as many parameters

    @property
    def kept(self) -> float:
        """The importance that stays."""
        return self.total - self.lost

    @property
    def bound(self) -> float:
        """The most that any cut as large can keep."""
        return self.total - self.least

    @property
    def gap(self) -> float:
        """How far from the bound, as a fraction of it; what constraints and pins cost is in it."""
        gap = (self.bound - self.kept) / self.bound if self.bound > 0 else 0.0
        return gap if gap > _ROUNDING else 0.0


def optimality_of(
    plan: PrunePlan, structure: ModelStructure, effect: PlanEffect, worth: ImportanceByGroup
) -> Optimality | None:
    """Hold a plan against the bound; None where layers go that were not measured."""
    sums = [worth.sum_of(*removal) for removal in removed_by(plan, structure)]
    if None in sums:
        return None
    lost = float(sum(value for value in sums if value is not None))
    table = worth.table
    any_plan = Knapsack(table.importance, table.cost[:, None].astype(np.int64), [effect.removed])
    return Optimality(worth.total, lost, min(lost, fractional_bound(any_plan)))


@dataclass(frozen=True)
class Resources:
    """Everything counted, in the dtype and behind the context that the plan's target names."""

    weights: BudgetStatus | None  # None: the analysis doesn't say how weights are stored
    kv_cache: BudgetStatus
    flops: BudgetStatus
    storage: StoredWeights | None
    budgets: Budgets
    cache_dtype: str

    @property
    def lines(self) -> Iterator[str]:
        """Yield a line for each."""
        if self.weights is not None and self.storage is not None:
            dtype = self.budgets.dtype
            stored = self.storage.dtypes_text
            other = f" in {stored}" if dtype is not None and dtype != stored else ""
            after = self.weights.need.text(self.weights.after)
            yield f"leaves at most {after}, of {self.storage.file_bytes:,}{other}"
        for met in (self.kv_cache, self.flops):
            yield f"leaves {met.need.text(met.after)}, of {met.need.in_units(met.need.before):,}"

    @property
    def notes(self) -> Iterator[str]:
        """Yield what has to be done for the bytes that were asked for."""
        storage, dtype = self.storage, self.budgets.dtype
        if self.budgets.size is None or storage is None or dtype is None or self.weights is None:
            return
        if storage.tensor_bytes(None) <= storage.tensor_bytes(dtype):
            return
        counts = f"--size counts {dtype}, and the weights are stored in {storage.dtypes_text}"
        if dtype == "int8":
            yield f"{counts}: gp writes no int8, so the promise is for the tool that quantises."
        else:
            yield f"{counts}: cut with gp apply --save-dtype {dtype}, which converts them."

    @property
    def document(self) -> dict[str, Any]:
        """The same for a program; `bytes_after` is the most that all files of weights take."""
        return {
            "bytes_before": None if self.storage is None else self.storage.file_bytes,
            "bytes_after": None if self.weights is None else self.weights.after,
            "bytes_dtype": None if self.weights is None else self._weights_dtype,
            "kv_cache_before": self.kv_cache.need.in_units(self.kv_cache.need.before),
            "kv_cache_after": self.kv_cache.need.in_units(self.kv_cache.after),
            "kv_cache_dtype": self.cache_dtype,
            "flops_before": self.flops.need.before,
            "flops_after": self.flops.after,
            "flops_context": self.budgets.context,
        }

    @property
    def _weights_dtype(self) -> str | None:
        """What `bytes_after` counts in."""
        return self.budgets.dtype or (self.storage.dtypes_text if self.storage else None)


def resources_of(
    plan: PrunePlan, effect: PlanEffect, structure: ModelStructure, storage: StoredWeights | None
) -> Resources:
    """Count what the plan leaves, by its own target's dtype and context.

    Where the target names no dtype, each weight counts in its own, and the cache as `--kv-cache`
    would count it.
    """
    budgets: Budgets = plan.target or Budgets()
    running = Budgets(kv_cache=0, flops=0, dtype=budgets.dtype, context=budgets.context)
    running = with_stored_dtype(running, storage)
    kv_cache, flops = statuses_of(running, effect, structure, storage)
    weights: BudgetStatus | None = None
    if storage is not None:
        [weights] = statuses_of(Budgets(size=0, dtype=budgets.dtype), effect, structure, storage)
    return Resources(weights, kv_cache, flops, storage, budgets, running.cache_dtype)


_NO_PERPLEXITY = "(sums of importance are no perplexity)"
_NAMES: dict[GroupType, tuple[str, str]] = {
    "attention": ("attention group", "attention groups"),
    "mlp": ("mlp channel", "mlp channels"),
}


def header_lines(
    plan: PrunePlan,
    structure: ModelStructure,
    effect: PlanEffect,
    scoring: Scoring,
    found: Optimality | None,
    doubt: str | None,
    storage: StoredWeights | None = None,
) -> tuple[str, ...]:
    """The lines of the comment; the first says whether a person had a hand in the decisions.

    A `doubt` about the analysis is the second.
    """
    state = "as written" if plan.generated is None else "as edited"
    if not plan.edited:
        state = "as generated"
    return (
        f"{state}: {removal_text(effect)}",
        *filter(None, [doubt]),
        f"leaves {effect.parameters_after:,} parameters{_shares_text(effect, structure)}",
        *resources_of(plan, effect, structure, storage).lines,
        *importance_lines(plan, scoring, found),
    )


def removal_text(effect: PlanEffect) -> str:
    """`removes 26,903,232 of 134,515,008 parameters (20.00 %): 4 attention groups, 1 layer`."""
    counts = [
        _counted(number, *_NAMES[kind]) for kind, number in effect.removed_groups.items() if number
    ]
    if effect.dropped_layers:
        numbers = str(IndexSet.of(effect.dropped_layers))
        counts.append(f"{_counted(len(effect.dropped_layers), 'layer', 'layers')} ({numbers})")
    share = f"{100 * effect.ratio:.2f} %"
    return (
        f"removes {effect.removed:,} of {effect.parameters_before:,} parameters ({share}): "
        f"{', '.join(counts) or 'nothing'}"
    )


def importance_lines(
    plan: PrunePlan, scoring: Scoring, found: Optimality | None
) -> tuple[str, ...]:
    """What goes of the summed importance, and how near that is to the best that could be."""
    if found is None:
        return (f"importance lost: unknown, since layers go that were not measured ({scoring})",)
    lost = f"importance lost: {found.lost:.4g}"
    if plan.analysis is not None and plan.analysis.assumes == "compensation":
        # what comes last in an order is worth what all before it hid, so a share says nothing
        lost += f" nats a token by {scoring}, behind compensation"
        return (
            lost,
            f"any cut as large loses at least {found.least:.4g} {_NO_PERPLEXITY}",
        )
    if found.total <= 0:  # importances below 0 have no shares
        return (f"{lost} by {scoring}",)
    lost += f" by {scoring} ({100 * found.lost / found.total:.2f} % of all)"
    bound = f"{100 * found.bound / found.total:.2f} %"
    kept = f"keeps {100 * found.kept / found.total:.2f} %; any cut as large keeps {bound}"
    return lost, f"{kept} at most, a gap of {100 * found.gap:.2g} % {_NO_PERPLEXITY}"


def shares_of(effect: PlanEffect, structure: ModelStructure) -> dict[GroupType, float]:
    """How what goes divides between attention and MLP: fractions of the removed parameters."""
    parts: dict[GroupType, int] = dict.fromkeys(GROUP_TYPES, 0)
    for index, kind, sublayer in structure.sublayers():
        parts[kind] += (sublayer.groups - len(effect.layers[index].of(kind))) * sublayer.cost
    return {kind: part / (effect.removed or 1) for kind, part in parts.items()}


def _shares_text(effect: PlanEffect, structure: ModelStructure) -> str:
    """The same in words; nothing where nothing goes."""
    if not effect.removed:
        return ""
    shares = shares_of(effect, structure).items()
    return "; of what goes, " + " and ".join(
        f"{100 * share:.1f} % {kind}" for kind, share in shares
    )


def _counted(count: int, one: str, many: str) -> str:
    return f"{count:,} {one if count == 1 else many}"
