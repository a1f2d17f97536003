"""A plan as a value: which groups of which layer go, and what a person pinned.

Decisions only. What follows from them is in `plan_effect`, how they are spelled in `plan_file`;
nothing here knows whether an index exists.
"""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, field_validator

from globalprune.artifacts.analyses.normalisers import NormaliserName
from globalprune.artifacts.groups import GroupType
from globalprune.artifacts.plans.index_ranges import IndexRanges
from globalprune.artifacts.plans.plan_target import Target
from globalprune.artifacts.provenance import digest_json
from globalprune.artifacts.record import Record

PLAN_FORMAT: Literal["globalprune.plan/1"] = "globalprune.plan/1"


def layer_key(value: Any) -> int:
    """Read the number of a layer, quoted or not."""
    match value:
        case bool():
            pass
        case int() if value >= 0:
            return value
        case str() if value.isascii() and value.isdigit():
            return int(value)
    raise ValueError(f"{value!r} is no layer; write its number, 0 or more.")


LayerIndex = Annotated[int, BeforeValidator(layer_key, json_schema_input_type=int)]


def _undefaulted(schema: dict[str, Any]) -> None:
    """Leave out a default that pydantic spells by the fields of IndexRanges."""
    schema.pop("default", None)


_NO_GROUPS: Any = Field(default=IndexRanges(), json_schema_extra=_undefaulted)


class LayerCuts(Record):
    """The groups of one layer that go."""

    verbatim: ClassVar[frozenset[str]] = frozenset({"attention", "mlp"})  # may have several lines

    attention: IndexRanges = _NO_GROUPS
    mlp: IndexRanges = _NO_GROUPS

    def of(self, group_type: GroupType) -> IndexRanges:
        """The groups of that kind that go."""
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
        """The same, `none` for none."""
        return self.normaliser or "none"


class HalfPins(Record):
    """What a person wants of one half: groups that stay, groups that go, how many stay in all."""

    verbatim: ClassVar[frozenset[str]] = frozenset({"keep", "remove"})  # may have several lines

    keep: IndexRanges = _NO_GROUPS
    remove: IndexRanges = _NO_GROUPS
    width: int | None = Field(default=None, ge=0, strict=True)

    def __bool__(self) -> bool:
        return bool(self.keep) or bool(self.remove) or self.width is not None


class LayerPins(Record):
    """What a person wants of one layer; it survives replanning."""

    attention: HalfPins = Field(default=HalfPins(), json_schema_extra=_undefaulted)
    mlp: HalfPins = Field(default=HalfPins(), json_schema_extra=_undefaulted)

    def of(self, group_type: GroupType) -> HalfPins:
        """The wishes for that half."""
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
        """Sort by layer and leave out what says nothing: one decision, one spelling."""
        return {layer: value for layer, value in sorted(layers.items()) if value}

    def decisions_digest(self) -> str:
        """`sha256:…` of the decisions, however they are spelled."""
        names = {"layers", "pin", "remove_empty_layers"}
        return digest_json(self.model_dump(mode="json", include=names))

    @property
    def edited(self) -> bool:
        """Whether the decisions are no longer those that gp wrote."""
        return self.generated != self.decisions_digest()
