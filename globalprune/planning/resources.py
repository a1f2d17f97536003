"""What a plan leaves of everything that is counted: bytes of weights, KV cache and FLOPs."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from globalprune.artifacts.plans.budgets import Met, left_of
from globalprune.artifacts.plans.plan import Budgets, PrunePlan
from globalprune.artifacts.plans.plan_effect import PlanEffect
from globalprune.artifacts.stored_weights import StoredWeights
from globalprune.artifacts.structure import ModelStructure
from globalprune.planning.targets import counted_as_stored


@dataclass(frozen=True)
class Resources:
    """Everything counted, in the dtype and behind the context that the plan's target names."""

    weights: Met | None  # None: the analysis doesn't say how weights are stored
    kv_cache: Met
    flops: Met
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
    running = counted_as_stored(running, storage)
    kv_cache, flops = left_of(running, effect, structure, storage)
    weights: Met | None = None
    if storage is not None:
        [weights] = left_of(Budgets(size=0, dtype=budgets.dtype), effect, structure, storage)
    return Resources(weights, kv_cache, flops, storage, budgets, running.cache_dtype)
