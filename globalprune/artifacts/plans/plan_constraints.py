"""What a plan may not do, as `target.constraints` in the plan: wishes for the whole model.

Only values: what they come to in a model is decided where a plan is made. Pins, which are wishes
for single layers, are in `prune_plan`.
"""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from globalprune.artifacts.plans.index_ranges import IndexRanges
from globalprune.artifacts.plans.runtimes import Runtime
from globalprune.artifacts.record import Record

_Whole = Annotated[int, Field(ge=0, strict=True)]
_Share = Annotated[float, Field(ge=0, le=1, strict=True)]


def _undefaulted(schema: dict[str, Any]) -> None:
    """Leave out a default that pydantic spells by the fields of IndexRanges."""
    schema.pop("default", None)


class Constraints(Record):
    """Bounds on what goes; a default says nothing."""

    verbatim: ClassVar[frozenset[str]] = frozenset({"protect_layers"})

    protect_layers: IndexRanges = Field(default=IndexRanges(), json_schema_extra=_undefaulted)
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
        """The same but for that one."""
        return self.model_copy(update={name: type(self).model_fields[name].default})

    def said(self) -> dict[str, Any]:
        """Only what was asked for, as it is spelled in a plan."""
        return self.model_dump(mode="json", exclude_defaults=True)
