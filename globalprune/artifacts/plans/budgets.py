"""What a target requires to be saved, and the cost of every group under every budget.

Parameters count the whole model, bytes the files that hold its weights, and a KV cache one key and
one value of every attention group for each token.
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
WEIGHTS: Final = "bytes of weight files"  # the unit's first words; the dtype follows
_RATIO_STEPS: Final = 10_000  # of a ratio that is shown
Rows = NDArray[np.integer[Any]]
_CostOf = Callable[[LayerStructure, GroupType], int]  # of one group


@dataclass(frozen=True, eq=False)
class BudgetRequirement:
    """How much has to be saved of one unit, for the strictest of the budgets that count it."""

    budgets: tuple[str, ...]  # their names in `Budgets`
    unit: str
    before: int  # of the whole model
    at_most: int  # of the cut model
    cost: NDArray[np.int64]  # [layers, kinds], of one group
    loose: bool = False  # saving more than a group too much is no fault
    parts: int = 1  # of the unit, that all amounts are counted in

    @property
    def to_save(self) -> int:
        """Return the amount that has to be saved."""
        return max(0, self.before - self.at_most)

    @property
    def counts_weights(self) -> bool:
        """Return whether it counts weights, their number or their bytes."""
        return self.unit.startswith((PARAMETERS, WEIGHTS))

    def costs_of(self, layers: Rows, kinds: Rows) -> NDArray[np.int64]:
        """Return what each group saves; `kinds` are positions in GROUP_TYPES."""
        costs: NDArray[np.int64] = self.cost[layers, kinds]
        return costs

    def in_units(self, amount: int) -> int:
        """Return an amount in whole units, rounded up."""
        return -(-amount // self.parts)

    def describe(self, amount: int) -> str:
        """Spell an amount with its unit."""
        return f"{self.in_units(amount):,} {self.unit}"

    def reachable(self, saved: int) -> str:
        """Spell the strictest budgets that a plan which saves `saved` would meet."""
        texts = []
        for name in self.budgets:
            if name == "ratio":
                ratio = math.floor(_RATIO_STEPS * saved / self.before) / _RATIO_STEPS
                texts.append(f"--ratio {ratio}")
            elif name == "size":
                texts.append(f"--size {self.before - saved}B")
            elif name == "parameters":
                texts.append(f"--params {self.before - saved}")
            else:
                texts.append(f"at most {self.describe(self.before - saved)}")
        return " and ".join(texts)


@dataclass(frozen=True, eq=False)
class BudgetStatus:
    """How far a requirement is met."""

    requirement: BudgetRequirement
    saved: int

    @property
    def is_met(self) -> bool:
        """Return whether enough is saved."""
        return self.saved >= self.requirement.to_save

    @property
    def after(self) -> int:
        """Return the amount that the cut model takes."""
        return self.requirement.before - self.saved

    @property
    def after_text(self) -> str:
        """Return the same with its unit."""
        return self.requirement.describe(self.after)

    @property
    def before_text(self) -> str:
        """Return the amount that the whole model takes, with its unit."""
        return self.requirement.describe(self.requirement.before)


def requirements_of(
    budgets: Budgets, structure: ModelStructure, storage: StoredWeights | None = None
) -> tuple[BudgetRequirement, ...]:
    """Return one requirement for each unit that the budgets count; a latency is none of them.

    `storage` says what the weights take on disk. Raise `UsageError` for a bad ratio, and for a size
    without `storage`.
    """
    found = []
    parameter_costs = _costs(structure, lambda layer, kind: layer.sublayer(kind).cost)
    if (at_most := _most_parameters(budgets, structure)) is not None:
        names = tuple(
            name for name in ("ratio", "parameters") if getattr(budgets, name) is not None
        )
        found.append(
            BudgetRequirement(names, PARAMETERS, structure.parameters, at_most, parameter_costs)
        )
    if budgets.size is not None:
        found.append(_size_requirement(budgets, budgets.size, parameter_costs, storage))
    if budgets.kv_cache is not None:
        cost, parts = _kv_cache(structure, budgets)
        amounts = _total(structure, cost), budgets.kv_cache * parts
        unit = f"bytes of KV cache a token in {budgets.cache_dtype}"
        found.append(BudgetRequirement(("kv_cache",), unit, *amounts, cost, parts=parts))
    if budgets.flops is not None:
        cost = _costs(structure, _flops(budgets.context))
        unit = f"FLOPs a token behind {budgets.context:,} others"
        amounts = _total(structure, cost), budgets.flops
        found.append(BudgetRequirement(("flops",), unit, *amounts, cost))
    return tuple(found)


def statuses_of(
    budgets: Budgets, effect: PlanEffect, structure: ModelStructure, storage: StoredWeights | None
) -> tuple[BudgetStatus, ...]:
    """Return how far a plan with that effect meets each requirement of the budgets."""
    removed = np.asarray(
        [
            [had.sublayer(kind).groups - len(layer.of(kind)) for kind in GROUP_TYPES]
            for had, layer in zip(structure.layers, effect.layers, strict=True)
        ],
        np.int64,
    )
    return tuple(
        BudgetStatus(requirement, int((removed * requirement.cost).sum()))
        for requirement in requirements_of(budgets, structure, storage)
    )


def further_costs(structure: ModelStructure, layers: Rows, kinds: Rows) -> dict[str, Any]:
    """Return what each group saves beside its parameters, by budget: int64 arrays.

    Bytes of KV cache, in bfloat16 and rounded, and FLOPs, both at the default context of `Budgets`.
    """
    default = Budgets()
    cache, parts = _kv_cache(structure, default)
    costs = {
        "kv_cache": np.rint(cache / parts).astype(np.int64),
        "flops": _costs(structure, _flops(default.context)),
    }
    return {name: cost[layers, kinds] for name, cost in costs.items()}


def refuse_bad_ratio(ratio: float) -> None:
    """Raise `UsageError` unless 0 ≤ ratio < 1."""
    if not 0 <= ratio < 1:
        raise UsageError(f"--ratio {ratio}: must be at least 0 and below 1, such as 0.2.")


def parameters_to_remove(ratio: float, parameters: int) -> int:
    """Return the least number that is at least `ratio` of `parameters`, the ratio as it is written.

    0.1 of 30 is 3, although the nearest binary number to 0.1 is a little more than a tenth.
    """
    refuse_bad_ratio(ratio)
    return math.ceil(Fraction(repr(float(ratio))) * parameters)


def _most_parameters(budgets: Budgets, structure: ModelStructure) -> int | None:
    """Return the most parameters that may be left; None where no budget counts them."""
    whole = structure.parameters
    limits = []
    if budgets.ratio is not None:
        limits.append(whole - parameters_to_remove(budgets.ratio, whole))
    if budgets.parameters is not None:
        limits.append(budgets.parameters)
    return min(limits, default=None)


def _size_requirement(
    budgets: Budgets,
    size: int,
    parameter_costs: NDArray[np.int64],
    storage: StoredWeights | None,
) -> BudgetRequirement:
    """Return the bytes that all files of weights take at most."""
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
    """Return the cached bytes of a token, averaged over a context, and in how many parts of a byte.

    As many parts as make the average of every layer a whole number.
    """
    context = max(1, budgets.context)
    visible = [layer.visible_tokens(context) for layer in structure.layers]
    step = math.gcd(context, *visible)

    def cost(layer: LayerStructure, kind: GroupType) -> int:
        token_bytes = 2 * layer.head_dim * budgets.bytes_per_number
        return token_bytes * layer.visible_tokens(context) // step if kind == "attention" else 0

    return _costs(structure, cost), context // step


def _flops(context: int) -> _CostOf:
    """Return the FLOPs of one token behind `context` others."""

    def cost(layer: LayerStructure, kind: GroupType) -> int:
        heads = layer.query_heads_per_group if kind == "attention" else 0
        sublayer = layer.sublayer(kind)
        if sublayer.experts:  # of which a token meets a few, each of them as often as any other
            return 2 * sublayer.cost * sublayer.chosen // len(sublayer.experts)
        return 2 * sublayer.weight + 4 * layer.visible_tokens(context) * heads * layer.head_dim

    return cost


def _costs(structure: ModelStructure, cost_of: _CostOf) -> NDArray[np.int64]:
    """Return what one group of each sublayer saves, `[layers, kinds]`."""
    costs = [[cost_of(layer, kind) for kind in GROUP_TYPES] for layer in structure.layers]
    return np.asarray(costs, np.int64)


def _total(structure: ModelStructure, cost: NDArray[np.int64]) -> int:
    """Return what all groups take together."""
    groups = [[layer.sublayer(kind).groups for kind in GROUP_TYPES] for layer in structure.layers]
    return int((np.asarray(groups, np.int64) * cost).sum())
