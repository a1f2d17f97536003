"""The figures of a plan: lost importance, optimality gap, resources, and the comment with them."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from globalprune.artifacts.analyses.analysis import Analysis, Scoring, doubt_of, scored_table
from globalprune.artifacts.analyses.group_table import GroupTable
from globalprune.artifacts.formatting import count_of, count_of_groups
from globalprune.artifacts.plans.budgets import BudgetStatus, statuses_of
from globalprune.artifacts.plans.index_set import IndexSet
from globalprune.artifacts.plans.plan import Budgets, PrunePlan
from globalprune.artifacts.plans.plan_effect import PlanEffect, effect_of, removed_by
from globalprune.artifacts.plans.plan_summary import plan_scoring
from globalprune.artifacts.stored_weights import StoredWeights
from globalprune.artifacts.structure import GROUP_TYPES, GroupType, ModelStructure
from globalprune.planning.knapsack import Knapsack, fractional_bound
from globalprune.planning.options import with_stored_dtype

_ROUNDING: Final = 1e-12  # of sums in two orders
_NO_PERPLEXITY: Final = "(sums of importance are no perplexity)"
_SMALL_GAP: Final = 1e-4  # as small as the other shares are spelled


@dataclass(frozen=True)
class ImportanceByGroup:
    """The importance of every group of a table; sums of it are no perplexity."""

    scoring: Scoring
    table: GroupTable  # scored so
    sublayers: dict[tuple[int, GroupType], NDArray[np.float64]]  # by group_idx

    @classmethod
    def of(cls, table: GroupTable, scoring: Scoring) -> "ImportanceByGroup":
        """Split the importances of a table by its sublayers."""
        sublayers = {sublayer: table.importance[rows] for sublayer, rows in table.sublayers.items()}
        return cls(scoring, table, sublayers)

    @property
    def total(self) -> float:
        """Return the importance of all measured groups."""
        return float(self.table.importance.sum())

    def sum_of(self, layer: int, kind: GroupType, indices: NDArray[np.int64]) -> float | None:
        """Return the importance of these groups; None where the sublayer was not measured."""
        sublayer = self.sublayers.get((layer, kind))
        if sublayer is None:
            return None if len(indices) else 0.0
        return float(sublayer[indices].sum())


@dataclass(frozen=True)
class Optimality:
    """What a plan keeps of the summed importance, and what any plan of its size could keep."""

    total: float
    lost: float
    least: float  # lost by every plan that removes as many parameters

    @property
    def kept(self) -> float:
        """Return the importance that stays."""
        return self.total - self.lost

    @property
    def bound(self) -> float:
        """Return the most that any cut as large can keep."""
        return self.total - self.least

    @property
    def gap(self) -> float:
        """How far from the bound, as a fraction of it; constraints and pins are part of it."""
        gap = (self.bound - self.kept) / self.bound if self.bound > 0 else 0.0
        return gap if gap > _ROUNDING else 0.0


@dataclass(frozen=True)
class Resources:
    """What the cut model takes, in the dtype and at the context that the plan's target names."""

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
            before = f"{self.storage.file_bytes:,}{other}"
            yield f"leaves at most {self.weights.after_text}, of {before}"
        for status in (self.kv_cache, self.flops):
            before = f"{status.requirement.in_units(status.requirement.before):,}"
            yield f"leaves {status.after_text}, of {before}"

    @property
    def warnings(self) -> Iterator[str]:
        """Yield how the bytes of a `--size` in another dtype than the stored one come about."""
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
            "kv_cache_before": self.kv_cache.requirement.in_units(self.kv_cache.requirement.before),
            "kv_cache_after": self.kv_cache.requirement.in_units(self.kv_cache.after),
            "kv_cache_dtype": self.cache_dtype,
            "flops_before": self.flops.requirement.before,
            "flops_after": self.flops.after,
            "flops_context": self.budgets.context,
        }

    @property
    def _weights_dtype(self) -> str | None:
        """Return the dtype that `bytes_after` counts in."""
        return self.budgets.dtype or (self.storage.dtypes_text if self.storage else None)


@dataclass(frozen=True)
class PlanFigures:
    """What a plan does, as far as its analysis can tell."""

    analysis: Analysis
    effect: PlanEffect
    importance: ImportanceByGroup
    optimality: Optimality | None  # None: layers go that were not measured
    resources: Resources

    @property
    def structure(self) -> ModelStructure:
        """Return the groups of the model that was measured."""
        return self.analysis.record.structure

    @property
    def trial_warning(self) -> str | None:
        """Why the analysis is doubted, if that is about the scores that the plan was made by."""
        return doubt_of(self.analysis.record, self.importance.scoring)


def figures_of(plan: PrunePlan, analysis: Analysis, importance: ImportanceByGroup) -> PlanFigures:
    """Return what a plan does to the model of the analysis."""
    structure = analysis.record.structure
    effect = effect_of(plan, structure)
    resources = resources_of(plan, effect, structure, analysis.record.model.storage)
    optimality = optimality_of(plan, structure, effect, importance)
    return PlanFigures(analysis, effect, importance, optimality, resources)


def importance_of(plan: PrunePlan, analysis: Analysis) -> tuple[ImportanceByGroup, str]:
    """Return the importance that the plan was made by, and a warning if the table lacks it now."""
    scoring, warning = plan_scoring(plan, analysis)
    return ImportanceByGroup.of(scored_table(analysis, scoring), scoring), warning


def optimality_of(
    plan: PrunePlan, structure: ModelStructure, effect: PlanEffect, importance: ImportanceByGroup
) -> Optimality | None:
    """Compare a plan with the bound; None where layers go that were not measured."""
    sums = [importance.sum_of(*removal) for removal in removed_by(plan, structure)]
    if None in sums:
        return None
    lost = float(sum(value for value in sums if value is not None))
    table = importance.table
    any_plan = Knapsack(table.importance, table.cost[:, None].astype(np.int64), [effect.removed])
    return Optimality(importance.total, lost, min(lost, fractional_bound(any_plan)))


def resources_of(
    plan: PrunePlan, effect: PlanEffect, structure: ModelStructure, storage: StoredWeights | None
) -> Resources:
    """Return what the plan leaves, by its own target's dtype and context.

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


def header_lines(plan: PrunePlan, figures: PlanFigures) -> tuple[str, ...]:
    """Return the lines of a plan's comment; the first says whether a person had a hand in it."""
    state = "as written" if plan.generated is None else "as edited"
    if not plan.edited:
        state = "as generated"
    effect = figures.effect
    return (
        f"{state}: {removal_text(effect)}",
        *filter(None, [figures.trial_warning]),
        f"leaves {effect.parameters_after:,} parameters{_shares_text(effect, figures.structure)}",
        *figures.resources.lines,
        *importance_lines(plan, figures),
    )


def removal_text(effect: PlanEffect) -> str:
    """`removes 26,903,232 of 134,515,008 parameters (20.00 %): 4 attention groups, 1 layer`."""
    counts = [
        count_of_groups(number, kind) for kind, number in effect.removed_groups.items() if number
    ]
    if effect.dropped_layers:
        numbers = str(IndexSet.of(effect.dropped_layers))
        counts.append(f"{count_of(len(effect.dropped_layers), 'layer')} ({numbers})")
    share = f"{100 * effect.ratio:.2f} %"
    return (
        f"removes {effect.removed:,} of {effect.parameters_before:,} parameters ({share}): "
        f"{', '.join(counts) or 'nothing'}"
    )


def importance_lines(plan: PrunePlan, figures: PlanFigures) -> tuple[str, ...]:
    """Return what goes of the summed importance, and how near that is to the best possible."""
    scoring, optimality = figures.importance.scoring, figures.optimality
    if optimality is None:
        return (f"importance lost: unknown, since layers go that were not measured ({scoring})",)
    lost = f"importance lost: {optimality.lost:.4g}"
    if plan.analysis is not None and plan.analysis.assumes == "compensation":
        # the last groups of an order are worth what all before them hid, so a share means nothing
        lost += f" nats a token by {scoring}, behind compensation"
        return (
            lost,
            f"any cut as large loses at least {optimality.least:.4g} {_NO_PERPLEXITY}",
        )
    if optimality.total <= 0:  # importances below 0 have no shares
        return (f"{lost} by {scoring}",)
    lost += f" by {scoring} ({100 * optimality.lost / optimality.total:.2f} % of all)"
    bound = f"{100 * optimality.bound / optimality.total:.2f} %"
    kept = f"keeps {100 * optimality.kept / optimality.total:.2f} %"
    gap = f"a gap of {100 * optimality.gap:.2g} %"
    if 0 < optimality.gap < _SMALL_GAP:
        gap = f"a gap below {100 * _SMALL_GAP:g} %"
    return lost, f"{kept}; any cut as large keeps {bound} at most, {gap} {_NO_PERPLEXITY}"


def shares_of(effect: PlanEffect, structure: ModelStructure) -> dict[GroupType, float]:
    """Return how what goes divides between attention and MLP: fractions of removed parameters."""
    parts: dict[GroupType, int] = dict.fromkeys(GROUP_TYPES, 0)
    for index, kind, sublayer in structure.sublayers():
        parts[kind] += (sublayer.groups - len(effect.layers[index].of(kind))) * sublayer.cost
    return {kind: part / (effect.removed or 1) for kind, part in parts.items()}


def _shares_text(effect: PlanEffect, structure: ModelStructure) -> str:
    """Return the shares in words; empty where nothing goes."""
    if not effect.removed:
        return ""
    shares = shares_of(effect, structure).items()
    return "; of what goes, " + " and ".join(
        f"{100 * share:.1f} % {kind}" for kind, share in shares
    )
