"""The cost of every group under every budget, and what a target requires to be saved.

Parameters count the whole model, bytes the files that hold its weights, a KV cache one key and one
value of every attention group for each token.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from globalprune.artifacts.plans.plan import Budgets
from globalprune.artifacts.plans.plan_effect import PlanEffect
from globalprune.artifacts.stored_weights import NUMBER_BYTES, StoredWeights
from globalprune.artifacts.structure import GROUP_TYPES, GroupType, LayerStructure, ModelStructure
from globalprune.errors import UsageError

PARAMETERS: Final = "parameters"
WEIGHTS: Final = "bytes of weight files"  # the unit's first words; the dtype is behind them
_RATIO_STEPS: Final = 10_000  # of a ratio that is told
Rows = NDArray[np.integer[Any]]
_CostOf = Callable[[LayerStructure, GroupType], int]  # of one group


@dataclass(frozen=True, eq=False)
class BudgetRequirement:
    """How much has to be saved of one thing, for the strictest of the budgets that count it."""

    asked: tuple[str, ...]  # the keys of the budgets
    unit: str
    before: int  # what the whole model takes
    at_most: int  # what may be left
    cost: NDArray[np.int64]  # [layers, kinds], of one group
    loose: bool = False  # overshooting it by more than a group is no fault
    parts: int = 1  # of the unit, that all amounts are counted in

    def text(self, amount: int) -> str:
        """So much of it, in words."""
        return f"{self.in_units(amount):,} {self.unit}"

    def in_units(self, amount: int) -> int:
        """So much of it in whole units, a part of one being one."""
        return -(-amount // self.parts)

    def reachable(self, saved: int) -> str:
        """What its budgets could ask for at most, where no more than `saved` can go."""
        found = []
        for name in self.asked:
            if name == "ratio":
                ratio = math.floor(_RATIO_STEPS * saved / self.before) / _RATIO_STEPS
                found.append(f"--ratio {ratio}")
            elif name == "size":
                found.append(f"--size {self.before - saved}B")
            elif name == "parameters":
                found.append(f"--params {self.before - saved}")
            else:
                found.append(f"at most {self.text(self.before - saved)}")
        return " and ".join(found)

    @property
    def of_weights(self) -> bool:
        """Whether it counts weights, their number or their bytes."""
        return self.unit.startswith((PARAMETERS, WEIGHTS))

    @property
    def amount(self) -> int:
        """What has to be saved."""
        return max(0, self.before - self.at_most)

    def of_rows(self, layer: Rows, kind: Rows) -> NDArray[np.int64]:
        """What each group saves."""
        costs: NDArray[np.int64] = self.cost[layer, kind]
        return costs


@dataclass(frozen=True, eq=False)
class BudgetStatus:
    """How far a need is met."""

    need: BudgetRequirement
    saved: int

    @property
    def reached(self) -> bool:
        """Whether at least what was asked is saved."""
        return self.saved >= self.need.amount

    @property
    def after(self) -> int:
        """What is left."""
        return self.need.before - self.saved


def requirements_of(
    budgets: Budgets, structure: ModelStructure, storage: StoredWeights | None = None
) -> tuple[BudgetRequirement, ...]:
    """One need for each thing that is counted; raise `UsageError` for a ratio that is none.

    `storage` tells what the weights take on disk; where nothing does, a size is refused.
    """
    found = []
    parameter_costs = _costs(structure, lambda layer, kind: layer.sublayer(kind).cost)
    if (parameters := _parameters_left(budgets, structure)) is not None:
        asked = tuple(name for name in ("ratio", "parameters") if _says(budgets, name))
        found.append(
            BudgetRequirement(asked, PARAMETERS, structure.parameters, parameters, parameter_costs)
        )
    if budgets.size is not None:
        found.append(_weights_need(budgets, budgets.size, parameter_costs, storage))
    if budgets.kv_cache is not None:
        cost, parts = _kv_cache(structure, budgets)
        amounts = _total(structure, cost), budgets.kv_cache * parts
        unit = f"bytes of KV cache a token in {budgets.cache_dtype}"
        found.append(BudgetRequirement(("kv_cache",), unit, *amounts, cost, parts=parts))
    if budgets.flops is not None:
        cost = _costs(structure, _flops(budgets.context))
        unit = f"FLOPs a token behind {budgets.context:,} others"
        found.append(
            BudgetRequirement(("flops",), unit, _total(structure, cost), budgets.flops, cost)
        )
    return tuple(found)


def statuses_of(
    budgets: Budgets, effect: PlanEffect, structure: ModelStructure, storage: StoredWeights | None
) -> tuple[BudgetStatus, ...]:
    """How far each of the budgets is met by a cut."""
    gone = np.asarray(
        [
            [had.sublayer(kind).groups - len(layer.of(kind)) for kind in GROUP_TYPES]
            for had, layer in zip(structure.layers, effect.layers, strict=True)
        ],
        np.int64,
    )
    needs = requirements_of(budgets, structure, storage)
    return tuple(BudgetStatus(need, int((gone * need.cost).sum())) for need in needs)


def further_costs(structure: ModelStructure, layer: Rows, kind: Rows) -> dict[str, Any]:
    """What each group saves beside its parameters, by what is counted; an int64 a row.

    Bytes of KV cache in bfloat16, rounded, and FLOPs, both of the default context, of `Budgets`.
    """
    default = Budgets()
    cache, parts = _kv_cache(structure, default)
    costs = {
        "kv_cache": np.rint(cache / parts).astype(np.int64),
        "flops": _costs(structure, _flops(default.context)),
    }
    return {name: cost[layer, kind] for name, cost in costs.items()}


def refuse_bad_ratio(ratio: float) -> None:
    """Raise `UsageError` unless 0 ≤ ratio < 1."""
    if not 0 <= ratio < 1:
        raise UsageError(f"ratio {ratio}: a ratio is at least 0 and below 1, such as 0.2.")


def parameters_to_remove(ratio: float, parameters: int) -> int:
    """The fewest parameters that are at least `ratio` of all, the ratio read as it is written.

    0.1 of 30 is 3, although the nearest binary number to 0.1 is a little more than a tenth.
    """
    refuse_bad_ratio(ratio)
    return math.ceil(Fraction(repr(float(ratio))) * parameters)


def _says(budgets: Budgets, name: str) -> bool:
    return getattr(budgets, name) is not None


def _parameters_left(budgets: Budgets, structure: ModelStructure) -> int | None:
    """The most parameters that may be left; None where no budget counts them."""
    whole = structure.parameters
    limits = []
    if budgets.ratio is not None:
        limits.append(whole - parameters_to_remove(budgets.ratio, whole))
    if budgets.parameters is not None:
        limits.append(budgets.parameters)
    return min(limits, default=None)


def _weights_need(
    budgets: Budgets,
    size: int,
    parameter_costs: NDArray[np.int64],
    storage: StoredWeights | None,
) -> BudgetRequirement:
    """The bytes of all files of weights: as much as they can take at most."""
    if storage is None:
        raise UsageError(
            "--size: the analysis was made before it was recorded how weights are stored, so that "
            "bytes can't be counted; run gp analyze again."
        )
    dtype = budgets.dtype
    cost = np.asarray(storage.group_bytes, np.int64)
    if dtype is not None:
        cost = parameter_costs * NUMBER_BYTES[dtype]
    unit = f"{WEIGHTS} in {dtype or storage.dtypes_text}"
    return BudgetRequirement(("size",), unit, storage.most_bytes(dtype), size, cost)


def _kv_cache(structure: ModelStructure, budgets: Budgets) -> tuple[NDArray[np.int64], int]:
    """The bytes that a token leaves in the cache, in the mean over a context, and in what parts.

    Counted in parts of a byte, as many as make a whole number of what each layer holds.
    """
    context = max(1, budgets.context)
    held = [layer.visible_tokens(context) for layer in structure.layers]
    step = math.gcd(context, *held)

    def cost(layer: LayerStructure, kind: GroupType) -> int:
        bytes_held = 2 * layer.head_dim * budgets.bytes_per_number * layer.visible_tokens(context)
        return bytes_held // step if kind == "attention" else 0

    return _costs(structure, cost), context // step


def _flops(context: int) -> _CostOf:
    """FLOPs of one token behind so many others."""

    def cost(layer: LayerStructure, kind: GroupType) -> int:
        heads = layer.query_heads_per_group if kind == "attention" else 0
        sublayer = layer.sublayer(kind)
        if sublayer.experts:  # of which a token meets a few, each of them as often as any other
            return 2 * sublayer.cost * sublayer.chosen // len(sublayer.experts)
        return 2 * sublayer.weight + 4 * layer.visible_tokens(context) * heads * layer.head_dim

    return cost


def _costs(structure: ModelStructure, cost_of: _CostOf) -> NDArray[np.int64]:
    """What one group of each sublayer saves."""
    costs = [[cost_of(layer, kind) for kind in GROUP_TYPES] for layer in structure.layers]
    return np.asarray(costs, np.int64)


def _total(structure: ModelStructure, cost: NDArray[np.int64]) -> int:
    """What all groups take."""
    groups = [[layer.sublayer(kind).groups for kind in GROUP_TYPES] for layer in structure.layers]
    return int((np.asarray(groups, np.int64) * cost).sum())
