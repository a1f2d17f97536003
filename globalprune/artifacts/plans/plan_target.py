"""What a plan was asked for: budgets, each of which is kept, and constraints.

Only values; what they come to in a model is decided where a plan is made.
"""

from collections.abc import Iterator
from typing import Annotated, Any, ClassVar, Final, Literal, get_args

from pydantic import Field, model_validator

from globalprune.artifacts.plans.plan_constraints import Constraints
from globalprune.artifacts.record import Record
from globalprune.artifacts.stored_dtypes import NUMBER_BYTES, Dtype

_CACHE_DTYPE: Dtype = "bfloat16"  # where nothing is said
Strategy = Literal["knapsack", "layerwise"]
STRATEGIES: tuple[Strategy, ...] = get_args(Strategy)
Ratio = Annotated[float, Field(ge=0, lt=1, strict=True)]
_Amount = Annotated[int, Field(ge=0, strict=True)]
_CONTEXT: Final = 2048  # tokens


class MachineReference(Record):
    """The latencies that a plan counts on; `path` is relative to the plan's folder."""

    verbatim: ClassVar[frozenset[str]] = frozenset({"path"})

    path: str
    record: str  # digest


class Budgets(Record):
    """How small a model should get; None says nothing."""

    ratio: Ratio | None = None  # of all parameters, to go
    parameters: _Amount | None = None  # that are left, at most
    size: _Amount | None = None  # bytes of the files of all weights at `dtype`, at most
    kv_cache: _Amount | None = None  # bytes that a token of `context` takes at `dtype`, at most
    flops: _Amount | None = None  # that the layers need for a token behind `context` others
    latency: Annotated[float, Field(gt=0)] | None = None  # milliseconds a decoded token, at most
    # None: each tensor's own for `size`, bfloat16 for `kv_cache`
    dtype: Dtype | None = None
    context: _Amount = _CONTEXT

    @property
    def cache_dtype(self) -> Dtype:
        """What numbers of the KV cache count as."""
        return self.dtype or _CACHE_DTYPE

    @property
    def bytes_per_number(self) -> int:
        """What a number of the KV cache takes."""
        return NUMBER_BYTES[self.cache_dtype]

    def counted(self) -> dict[str, Any]:
        """The budgets that were asked for."""
        return {
            name: value
            for name in ("ratio", "parameters", "size", "kv_cache", "flops", "latency")
            if (value := getattr(self, name)) is not None
        }

    def said(self) -> dict[str, Any]:
        """Only what was asked for, as it is spelled in a plan."""
        said = self.counted()
        if self.dtype is not None and ("size" in said or "kv_cache" in said):
            said["dtype"] = self.dtype
        if "flops" in said or ("kv_cache" in said and self.context != _CONTEXT):
            said["context"] = self.context
        return said


def budgets_of(target: Budgets) -> Budgets:
    """The budgets of a target, without its ratio."""
    said = target.model_dump(include=set(Budgets.model_fields) - {"ratio"})
    return Budgets.model_validate(said)


class Target(Budgets):
    """Budgets and constraints of one plan."""

    constraints: Constraints = Field(default=Constraints(), json_schema_extra={"default": {}})
    within: tuple[Ratio, ...] = ()  # smaller ratios, whose plans it removes all of
    strategy: Strategy = "knapsack"
    machine: MachineReference | None = None  # that `latency` is told by

    @model_validator(mode="after")
    def _has_a_budget(self) -> "Target":
        if not self.said():
            raise ValueError("says no budget; write `ratio: 0.2`, say.")
        if (self.latency is None) is not (self.machine is None):
            raise ValueError("latency and machine go together; write both, or leave both out.")
        others = [name for name in ("kv_cache", "flops", "latency") if name in self.said()]
        if others and self.constraints.attention_share is not None:
            raise ValueError(
                f"attention_share is a share of parameters and can't be kept with "
                f"{' and '.join(others)}; leave one out."
            )
        if self.strategy == "layerwise" and (odd := list(self._beyond_layerwise())):
            raise ValueError(f"strategy layerwise knows no {' and no '.join(odd)}; leave it out.")
        return self

    def _beyond_layerwise(self) -> Iterator[str]:
        """Yield what a ratio for each layer by itself can't keep."""
        yield from (name for name in ("kv_cache", "flops", "latency") if name in self.said())
        bound = ("max_layer_ratio", "round_mlp", "uniform", "whole_layers", "runtime")
        yield from (name for name in bound if name in self.constraints.said())
        if self.within:
            yield "within"
