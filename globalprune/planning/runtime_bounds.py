"""What a runtime, named by `constraints.runtime`, asks of a plan: more constraints, and bounds.

Its facts are in `artifacts/plans/runtimes`; here they become what a selection can keep.
"""

import math
from typing import Any

import numpy as np
from pydantic import ValidationError

from globalprune.artifacts.analyses.analysis import AnalysisRecord
from globalprune.artifacts.analyses.group_table import GroupTable
from globalprune.artifacts.plans.gguf_layout import GGUF_FORMS
from globalprune.artifacts.plans.plan import Constraints
from globalprune.artifacts.plans.runtime_compatibility import counted_by_position, miscounted_whole
from globalprune.artifacts.plans.runtimes import QUANTISED_BLOCK, stock_attention
from globalprune.artifacts.structure import ModelStructure, ModelTraits
from globalprune.errors import PlanInvalid, UsageError
from globalprune.planning.pins import Wishes


def bound_by_runtime(constraints: Constraints, record: AnalysisRecord) -> Constraints:
    """The constraints and those of the runtime.

    Raise `UsageError` where they can't be together, or where no plan would help.
    """
    runtime = constraints.runtime
    if runtime not in ("llama.cpp", "any"):
        return constraints
    traits = _known(record)
    if miscounted := miscounted_whole(traits):
        raise UsageError(f"--for {runtime}: no plan makes this model load there: {miscounted}")
    if constraints.whole_layers and (cycle := counted_by_position(traits)):
        raise UsageError(
            f"--for {runtime} --whole-layers: llama.cpp tells by its place what each "
            f"{cycle.length}. layer of a {traits.model_type} is, so that those behind a dropped "
            "one would be taken for others; plan without one of the two."
        )
    may_differ = runtime == "llama.cpp" and _held_by_layer(traits, record.structure)
    more: dict[str, Any] = {"round_mlp": math.lcm(constraints.round_mlp, _block(record))}
    if not may_differ and not constraints.whole_layers:
        more["uniform"] = True
    try:
        return Constraints.model_validate({**constraints.model_dump(mode="json"), **more})
    except ValidationError as error:
        clash = str(error.errors()[0].get("ctx", {}).get("error", error))
        raise UsageError(f"--for {runtime} needs layers that are alike: {clash}") from error


def _held_by_layer(traits: ModelTraits, structure: ModelStructure) -> bool:
    """Whether llama.cpp holds the model though its layers differ; raise if it never holds it."""
    forms = GGUF_FORMS.get(traits.model_type)
    if forms is None and structure.has_experts:
        raise UsageError(f"--for llama.cpp: gp export knows no form of {traits.model_type} there.")
    if forms is None:
        raise UsageError(
            f"--for llama.cpp: gp export knows no form of {traits.model_type} there; plan with "
            "--for any, and give the plain checkpoint to llama.cpp's own converter."
        )
    if not any(forms.by_layer.lacks(traits, structure)):
        return True
    if lacking := " and ".join(forms.alike.lacks(traits, structure)):
        raise UsageError(
            f"--for llama.cpp: no plan makes this {traits.model_type} load there: its "
            f"{forms.alike.architecture} has {lacking}."
        )
    return False


def stock_widths(record: AnalysisRecord) -> list[int]:
    """How many attention groups of a layer the architecture's own config takes; [] if any."""
    traits = record.model.traits
    layer = record.structure.layers[0]
    if traits is None:
        return []
    groups = layer.attention.groups
    widths = stock_attention(traits, groups, layer.query_heads_per_group)
    return [] if len(widths) == groups else widths


def at_width(table: GroupTable, wishes: Wishes, width: int, where: str) -> Wishes:
    """The wishes, where exactly the `width` best attention groups of every layer stay.

    Raise `PlanInvalid` where they allow more or fewer only.
    """
    must_go, free = wishes.must_go.copy(), wishes.free.copy()
    for (layer, kind), by_index in table.halves.items():
        if kind != "attention":
            continue
        rows = np.sort(by_index)  # the worst first
        may_go = rows[free[rows]]
        more = int((~must_go[rows]).sum()) - width
        if not 0 <= more <= len(may_go):
            what = f"pin.{layer}.attention: no plan with {width} groups in every layer keeps it."
            raise PlanInvalid(where, [what])
        must_go[may_go[:more]] = True
        free[rows] = False
    return Wishes(must_go, free)


def _known(record: AnalysisRecord) -> ModelTraits:
    """The model's traits."""
    if record.model.traits is None:
        raise UsageError(
            "--for: the analysis was made before traits of the model were recorded; run gp analyze "
            "again."
        )
    return record.model.traits


def _block(record: AnalysisRecord) -> int:
    """The multiple for MLP widths: a quantised block, as far as the model's own are of it."""
    widths = [layer.mlp.groups for layer in record.structure.layers if layer.mlp.groups]
    return math.gcd(QUANTISED_BLOCK, *widths)
