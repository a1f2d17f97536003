"""A plan as a value: the groups that each layer loses, pins, and the target.

The target holds budgets and constraints. `plan_effect` computes what the decisions do to a model,
and `plan_yaml` how they are written.
"""

from collections.abc import Iterator
from typing import Annotated, Any, ClassVar, Final, Literal, get_args

from pydantic import BeforeValidator, Field, field_validator, model_validator

from globalprune.artifacts.analyses.normalisers import NormaliserName
from globalprune.artifacts.plans.index_set import IndexSet
from globalprune.artifacts.records import Record, digest_json
from globalprune.artifacts.stored_weights import NUMBER_BYTES, Dtype
from globalprune.artifacts.structure import GroupType

PLAN_FORMAT: Literal["globalprune.plan/1"] = "globalprune.plan/1"
Strategy = Literal["knapsack", "layerwise"]
STRATEGIES: tuple[Strategy, ...] = get_args(Strategy)
Runtime = Literal["transformers", "vllm", "llama.cpp", "any"]  # any: a plain checkpoint
RUNTIMES: tuple[Runtime, ...] = get_args(Runtime)
_CACHE_DTYPE: Dtype = "bfloat16"  # where a target names none
_CONTEXT: Final = 2048  # tokens
_BEYOND_LAYERWISE: Final = ("max_layer_ratio", "round_mlp", "uniform", "whole_layers", "runtime")
_Whole = Annotated[int, Field(ge=0, strict=True)]
_Share = Annotated[float, Field(ge=0, le=1, strict=True)]
Ratio = Annotated[float, Field(ge=0, lt=1, strict=True)]


def _undefaulted(schema: dict[str, Any]) -> None:
    """Leave out a default that pydantic would describe by the fields of the value."""
    schema.pop("default", None)


class Constraints(Record):
    """Rules for the whole model on what goes; a default is no rule."""

    verbatim: ClassVar[frozenset[str]] = frozenset({"protect_layers"})

    protect_layers: IndexSet = Field(default=IndexSet(), json_schema_extra=_undefaulted)
    min_attention_groups: _Whole = 0  # that stay in every layer, as far as it has so many
    min_mlp: _Whole = 0  # channels that stay in every layer
    max_layer_ratio: _Share = 1.0  # of a layer's groups, by their parameters
    only: Literal["attention", "mlp"] | None = None
    attention_share: _Share | None = None  # of what goes, by parameters
    round_mlp: Annotated[int, Field(ge=1, strict=True)] = 1  # every MLP's width is a multiple of it
    uniform: Annotated[bool, Field(strict=True)] = False  # the same widths in every layer
    whole_layers: Annotated[bool, Field(strict=True)] = False  # nothing goes but whole layers
    runtime: Runtime | None = None  # where what is left can be loaded

    def __bool__(self) -> bool:
        return self != Constraints()

    @model_validator(mode="after")
    def _agree(self) -> "Constraints":
        """Refuse what no plan can keep together."""
        clashes = [
            (self.only is not None and self.attention_share is not None, "only", "attention_share"),
            (self.only is not None and self.whole_layers, "only", "whole_layers"),
            (self.attention_share is not None and self.whole_layers, "attention_share",
             "whole_layers"),
            (self.uniform and bool(self.protect_layers), "uniform", "protect_layers"),
            (self.uniform and self.whole_layers, "uniform", "whole_layers"),
            (self.whole_layers and self.max_layer_ratio < 1, "whole_layers", "max_layer_ratio"),
        ]  # fmt: skip
        found = [f"{one} and {other}" for clash, one, other in clashes if clash]
        if found:
            raise ValueError(f"{'; '.join(found)} can't be kept together; leave one out.")
        return self

    def without(self, name: str) -> "Constraints":
        """Return the same constraints without that one."""
        return self.model_copy(update={name: type(self).model_fields[name].default})

    def explicit(self) -> dict[str, Any]:
        """Return the constraints that are no defaults, as a plan spells them."""
        return self.model_dump(mode="json", exclude_defaults=True)


class MachineReference(Record):
    """The latencies that a plan counts on; `path` is relative to the plan's folder."""

    verbatim: ClassVar[frozenset[str]] = frozenset({"path"})

    path: str
    record: str  # digest


class Budgets(Record):
    """How small a model should get; None is no budget."""

    ratio: Ratio | None = None  # of all parameters, to go
    parameters: _Whole | None = None  # that are left, at most
    size: _Whole | None = None  # bytes of the files of all weights at `dtype`, at most
    kv_cache: _Whole | None = None  # bytes that a token of `context` takes at `dtype`, at most
    flops: _Whole | None = None  # that the layers need for a token behind `context` others
    latency: Annotated[float, Field(gt=0)] | None = None  # milliseconds a decoded token, at most
    # None: each tensor's own for `size`, bfloat16 for `kv_cache`
    dtype: Dtype | None = None
    context: _Whole = _CONTEXT

    @property
    def cache_dtype(self) -> Dtype:
        """Return the dtype that numbers of the KV cache count as."""
        return self.dtype or _CACHE_DTYPE

    @property
    def bytes_per_number(self) -> int:
        """Return the bytes of a number in the KV cache."""
        return NUMBER_BYTES[self.cache_dtype]

    def amounts(self) -> dict[str, Any]:
        """Return the budgets that are set, by name."""
        return {
            name: value
            for name in Budgets.model_fields
            if name not in ("dtype", "context") and (value := getattr(self, name)) is not None
        }

    def explicit(self) -> dict[str, Any]:
        """Return the budgets that are set, with their dtype and context, as a plan spells them."""
        fields = self.amounts()
        if self.dtype is not None and ("size" in fields or "kv_cache" in fields):
            fields["dtype"] = self.dtype
        if "flops" in fields or ("kv_cache" in fields and self.context != _CONTEXT):
            fields["context"] = self.context
        return fields

    def without_ratio(self) -> "Budgets":
        """Return the other budgets, without what a target adds to them."""
        fields = self.model_dump(include=set(Budgets.model_fields) - {"ratio"})
        return Budgets.model_validate(fields)


class Target(Budgets):
    """Budgets and constraints of one plan."""

    constraints: Constraints = Field(default=Constraints(), json_schema_extra={"default": {}})
    within: tuple[Ratio, ...] = ()  # smaller ratios, whose plans it removes all of
    strategy: Strategy = "knapsack"
    machine: MachineReference | None = None  # that `latency` is told by

    @model_validator(mode="after")
    def _has_a_budget(self) -> "Target":
        if not self.amounts():
            raise ValueError("names no budget; write one, such as `ratio: 0.2`.")
        if (self.latency is None) is not (self.machine is None):
            raise ValueError("latency and machine go together; write both, or leave both out.")
        others = self._beside_weights()
        if others and self.constraints.attention_share is not None:
            raise ValueError(
                f"attention_share is a share of parameters and can't be kept with "
                f"{' and '.join(others)}; leave one out."
            )
        if self.strategy == "layerwise" and (odd := list(self._beyond_layerwise())):
            raise ValueError(f"strategy layerwise knows no {' and no '.join(odd)}; leave it out.")
        return self

    def _beside_weights(self) -> list[str]:
        """Return the budgets that count no weights."""
        return [name for name in ("kv_cache", "flops", "latency") if name in self.amounts()]

    def _beyond_layerwise(self) -> Iterator[str]:
        """Yield what a ratio for each layer by itself can't keep."""
        yield from self._beside_weights()
        rules = self.constraints.explicit()
        yield from (name for name in _BEYOND_LAYERWISE if name in rules)
        if self.within:
            yield "within"


def layer_key(value: Any) -> int:
    """Read the number of a layer, quoted or not; raise `ValueError` for anything else."""
    match value:
        case bool():
            pass
        case int() if value >= 0:
            return value
        case str() if value.isascii() and value.isdigit():
            return int(value)
    raise ValueError(f"{value!r} is no layer; write its number, 0 or more.")


LayerIndex = Annotated[int, BeforeValidator(layer_key, json_schema_input_type=int)]
_NO_GROUPS: Any = Field(default=IndexSet(), json_schema_extra=_undefaulted)


class LayerCuts(Record):
    """The groups of one layer that go."""

    verbatim: ClassVar[frozenset[str]] = frozenset({"attention", "mlp"})  # may have several lines

    attention: IndexSet = _NO_GROUPS
    mlp: IndexSet = _NO_GROUPS

    def of(self, group_type: GroupType) -> IndexSet:
        """Return the groups of that kind that go."""
        return self.attention if group_type == "attention" else self.mlp

    def __bool__(self) -> bool:
        return bool(self.attention) or bool(self.mlp)


class ModelReference(Record):
    """The model that was measured; any other of the same structure may be cut too."""

    source: str
    structure: str
    weights: str | None = None
    revision: str | None = None


class AnalysisReference(Record):
    """The table that the plan was made from; `path` is relative to the plan's folder."""

    verbatim: ClassVar[frozenset[str]] = frozenset({"path"})

    path: str
    table: str
    importance: str
    normaliser: NormaliserName | None = None  # None: raw importances were ranked
    assumes: Literal["compensation"] | None = None  # what the importance counts on at apply

    @property
    def normalised_by(self) -> NormaliserName:
        """Return the same, `none` for none."""
        return self.normaliser or "none"


class SublayerPins(Record):
    """A person's rules for one sublayer: groups that stay, groups that go, how many stay."""

    verbatim: ClassVar[frozenset[str]] = frozenset({"keep", "remove"})  # may have several lines

    keep: IndexSet = _NO_GROUPS
    remove: IndexSet = _NO_GROUPS
    width: int | None = Field(default=None, ge=0, strict=True)

    def __bool__(self) -> bool:
        return bool(self.keep) or bool(self.remove) or self.width is not None


class LayerPins(Record):
    """The pins of one layer; they survive replanning."""

    attention: SublayerPins = Field(default=SublayerPins(), json_schema_extra=_undefaulted)
    mlp: SublayerPins = Field(default=SublayerPins(), json_schema_extra=_undefaulted)

    def of(self, group_type: GroupType) -> SublayerPins:
        """Return the pins of that sublayer."""
        return self.attention if group_type == "attention" else self.mlp

    def __bool__(self) -> bool:
        return bool(self.attention) or bool(self.mlp)


class PrunePlan(Record):
    """What to cut out of a model. Indices always name groups of the original model."""

    format: Literal["globalprune.plan/1"] = PLAN_FORMAT
    model: ModelReference | None = None
    analysis: AnalysisReference | None = None
    target: Target | None = None
    pin: dict[LayerIndex, LayerPins] = Field(default={})
    generated: str | None = None  # decisions_digest() as gp wrote them: shows a hand edit
    remove_empty_layers: bool = Field(default=True, strict=True)
    layers: dict[LayerIndex, LayerCuts]

    @field_validator("layers", "pin")
    @classmethod
    def _in_order_without_the_empty(cls, layers: dict[int, Any]) -> dict[int, Any]:
        """Sort by layer and leave out the empty: one decision has one spelling."""
        return {layer: value for layer, value in sorted(layers.items()) if value}

    def decisions_digest(self) -> str:
        """Return `sha256:…` of the decisions, however they are spelled."""
        names = {"layers", "pin", "remove_empty_layers"}
        return digest_json(self.model_dump(mode="json", include=names))

    @property
    def edited(self) -> bool:
        """Return whether the decisions are no longer those that gp wrote."""
        return self.generated != self.decisions_digest()
