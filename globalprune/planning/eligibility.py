"""Which groups must go, may go, or must stay: by pins, constraints and runtimes."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from globalprune.artifacts.analyses.analysis import Analysis, AnalysisRecord
from globalprune.artifacts.analyses.group_table import GroupTable
from globalprune.artifacts.plans.gguf_layout import GGUF_FORMS, QUANTISED_BLOCK
from globalprune.artifacts.plans.index_set import IndexSet
from globalprune.artifacts.plans.plan import Constraints, LayerPins, SublayerPins
from globalprune.artifacts.plans.plan_compliance import contradictions
from globalprune.artifacts.plans.runtime_compatibility import (
    misread_whole,
    position_cycle,
    stock_attention,
)
from globalprune.artifacts.structure import (
    GROUP_TYPES,
    GroupType,
    ModelStructure,
    ModelTraits,
    unprunable_reason,
)
from globalprune.errors import PlanInvalid, UsageError
from globalprune.planning.knapsack import Mask
from globalprune.planning.options import option_name

_Rows = NDArray[np.intp]
_COUNTING: Final = ("uniform", "round_mlp")  # constraints on the number of channels of an MLP


@dataclass(frozen=True)
class Pins:
    """Pins by layer, and the file that they are in."""

    layers: Mapping[int, LayerPins] = field(default_factory=dict)
    source: str = "the pins"
    notes: tuple[str, ...] = ()  # what a person should know of where they come from


@dataclass(frozen=True, eq=False)
class Eligibility:
    """A flag for each row of the table; a row that is neither required nor allowed stays."""

    required: Mask  # goes in any case
    allowed: Mask  # may go; never one that is required


def apply_pins(analysis: Analysis, table: GroupTable, pins: Pins) -> Eligibility:
    """Return what pins, whose indices exist, leave open of the rows of `table`.

    Raise `PlanInvalid` with every contradiction.
    """
    problems = list(_contradictions(analysis, pins))
    if problems:
        raise PlanInvalid(pins.source, problems)
    required, allowed = np.zeros(len(table), bool), np.ones(len(table), bool)
    for layer, kind, sublayer in _pinned_sublayers(pins):
        if (layer, kind) not in table.sublayers:
            continue  # not measured, or empty: there is nothing to choose
        rows = _by_score(table.sublayers[layer, kind])
        indices = table.group_idx[rows]
        kept = np.isin(indices, sublayer.keep.resolved(len(rows)).to_array())
        removed = np.isin(indices, sublayer.remove.resolved(len(rows)).to_array())
        allowed[rows[kept | removed]] = False
        required[rows[removed]] = True
        if sublayer.width is not None:
            more = len(rows) - sublayer.width - int(removed.sum())
            required[rows[~kept & ~removed][:more]] = True
            allowed[rows] = False
    return Eligibility(required, allowed)


def apply_constraints(
    table: GroupTable, eligibility: Eligibility, constraints: Constraints, source: str
) -> Eligibility:
    """Return what the constraints on single sublayers leave open.

    `source` names the file of the pins; raise `PlanInvalid` with every collision with them.
    """
    required, allowed = eligibility.required.copy(), eligibility.allowed.copy()
    protected = set(constraints.protect_layers)
    problems: list[str] = []
    for (layer, kind), unordered in table.sublayers.items():
        rows = _by_score(unordered)
        if layer in protected or constraints.only not in (None, kind):
            if required[rows].any():
                reason = "protect_layers" if layer in protected else "only"
                problems.append(
                    f"pin.{layer}.{kind}: collides with {reason}, which keeps all of it; take one "
                    "of the two out."
                )
            allowed[rows] = False
            continue
        _keep_best(rows, required, allowed, _least_groups(constraints, kind))
        if kind == "mlp" and constraints.round_mlp > 1:
            problems += _round(rows, required, allowed, constraints, layer)
    if problems:
        raise PlanInvalid(source, problems)
    return Eligibility(required, allowed)


def fix_attention_groups(
    table: GroupTable, eligibility: Eligibility, groups: int, source: str
) -> Eligibility:
    """Return what is left open where exactly the best `groups` of every attention stay.

    Raise `PlanInvalid` where that can't be.
    """
    required, allowed = eligibility.required.copy(), eligibility.allowed.copy()
    for (layer, kind), unordered in table.sublayers.items():
        if kind != "attention":
            continue
        rows = _by_score(unordered)
        open_rows = rows[allowed[rows]]
        more = int((~required[rows]).sum()) - groups
        if not 0 <= more <= len(open_rows):
            what = f"pin.{layer}.attention: no plan with {groups} groups in every layer keeps it."
            raise PlanInvalid(source, [what])
        required[open_rows[:more]] = True
        allowed[rows] = False
    return Eligibility(required, allowed)


def stock_widths(record: AnalysisRecord) -> list[int]:
    """Return how many attention groups a layer may keep by the architecture's own config.

    Empty where any number will do.
    """
    traits = record.model.traits
    layer = record.structure.layers[0]
    if traits is None:
        return []
    groups = layer.attention.groups
    widths = stock_attention(traits, groups, layer.query_heads_per_group)
    return [] if len(widths) == groups else widths


def refuse_unsatisfiable(constraints: Constraints, structure: ModelStructure) -> None:
    """Raise `UsageError` where a constraint can't be kept by cutting what may be cut."""
    for kind, sublayer in structure.fixed.items():
        for option in _options_that_remove(constraints, kind):
            raise UsageError(f"{option}: {unprunable_reason(kind, sublayer)}; leave it out.")
    _refuse_wide_multiple(constraints, structure)
    if structure.has_experts and constraints.runtime == "vllm":
        raise UsageError(
            "--for vllm: this model has experts, and vLLM takes those of a layer together; no cut "
            "of it loads there."
        )
    if structure.has_experts:
        for name in (name for name in _COUNTING if name in constraints.explicit()):
            raise UsageError(
                f"{option_name(name)}: counts the channels of an MLP, and this model has experts, "
                "whose channels are chosen one by one; leave it out (and --for any, which asks it)."
            )


def add_runtime_constraints(constraints: Constraints, record: AnalysisRecord) -> Constraints:
    """Return the constraints with those that their runtime brings.

    Raise `UsageError` where they contradict each other, or where no plan would load there.
    """
    runtime = constraints.runtime
    if runtime not in ("llama.cpp", "any"):
        return constraints
    traits = _traits(record)
    if misread := misread_whole(traits):
        raise UsageError(f"--for {runtime}: no plan makes this model load there: {misread}")
    if constraints.whole_layers and (cycle := position_cycle(traits)):
        raise UsageError(
            f"--for {runtime} --whole-layers: llama.cpp tells by its place what each "
            f"{cycle.length}. layer of a {traits.model_type} is, so that those behind a dropped "
            "one would be taken for others; plan without one of the two."
        )
    may_differ = runtime == "llama.cpp" and _may_differ_in_gguf(traits, record.structure)
    added: dict[str, Any] = {"round_mlp": math.lcm(constraints.round_mlp, _block(record))}
    if not may_differ and not constraints.whole_layers:
        added["uniform"] = True
    try:
        return Constraints.model_validate({**constraints.model_dump(mode="json"), **added})
    except ValidationError as error:
        clash = str(error.errors()[0].get("ctx", {}).get("error", error))
        raise UsageError(f"--for {runtime} needs layers that are alike: {clash}") from error


def _by_score(rows: _Rows) -> _Rows:
    """Rows of a sublayer in the order of their scores, which is that of the table: worst first."""
    ordered: _Rows = np.sort(rows)
    return ordered


def _contradictions(analysis: Analysis, pins: Pins) -> Iterator[str]:
    """Yield the pins that no plan can honour, and what to do."""
    first, end = analysis.record.layers
    for layer, kind, sublayer in _pinned_sublayers(pins):
        at = f"pin.{layer}.{kind}"
        if not first <= layer < end:
            if sublayer.remove or sublayer.width is not None:
                yield (
                    f"{at}: layer {layer} was not measured (the analysis covers {first}:{end}), so "
                    "nothing of it is cut; take the pin out, or analyze that layer too."
                )
            continue
        structure = analysis.record.structure.layers[layer].sublayer(kind)
        found = contradictions(sublayer, kind, structure)
        yield from (f"{at}.{pin}: {what}" for pin, what in found)


def _pinned_sublayers(pins: Pins) -> Iterator[tuple[int, GroupType, SublayerPins]]:
    """Yield every sublayer that has a pin."""
    for layer, sublayers in pins.layers.items():
        for kind in GROUP_TYPES:
            if sublayers.of(kind):
                yield layer, kind, sublayers.of(kind)


def _least_groups(constraints: Constraints, kind: GroupType) -> int:
    """Return how many groups of every sublayer of a kind stay at least."""
    least = constraints.min_attention_groups if kind == "attention" else constraints.min_mlp
    return max(least, 1) if constraints.uniform else least  # no stock config has an empty sublayer


def _keep_best(rows: _Rows, required: Mask, allowed: Mask, least: int) -> None:
    """Allow fewer rows, of those worth most, until `least` are sure to stay."""
    sure = int((~required[rows] & ~allowed[rows]).sum())
    open_rows = rows[allowed[rows]]
    more = min(max(least - sure, 0), len(open_rows))
    allowed[open_rows[len(open_rows) - more :]] = False


def _round(
    rows: _Rows, required: Mask, allowed: Mask, constraints: Constraints, layer: int
) -> Iterator[str]:
    """Require the worst rows above a multiple; yield a complaint where too few are allowed."""
    multiple = constraints.round_mlp
    staying = int((~required[rows]).sum())
    above = staying % multiple
    open_rows = rows[allowed[rows]]
    if above > len(open_rows):
        keeping = "pins and min_mlp" if constraints.min_mlp else "pins"
        yield (
            f"round_mlp: collides with {keeping}: in layer {layer} {staying} channels stay, and of "
            f"the {above} above a multiple of {multiple} only {len(open_rows)} may go; keep fewer, "
            "or round to less."
        )
        return
    required[open_rows[:above]] = True
    allowed[open_rows[:above]] = False


def _refuse_wide_multiple(constraints: Constraints, structure: ModelStructure) -> None:
    """Raise `UsageError` where an MLP has no multiple of so many channels."""
    layers = {} if constraints.only == "attention" else dict(enumerate(structure.layers))
    widths = {
        at: layer.mlp.groups
        for at, layer in layers.items()
        if at not in set(constraints.protect_layers) and layer.mlp.groups
    }
    narrow = [at for at, width in widths.items() if width < constraints.round_mlp]
    if narrow:
        raise UsageError(
            f"{option_name('round_mlp')} {constraints.round_mlp}: is more than the "
            f"{max(widths[at] for at in narrow):,} channels that the MLP of "
            f"layer{'s' * (len(narrow) > 1)} {IndexSet.of(narrow)} has at most; round to less."
        )


def _options_that_remove(constraints: Constraints, kind: str) -> Iterator[str]:
    """Yield the options that need some groups of that kind to go."""
    if constraints.only == kind:
        yield f"{option_name('only')} {kind}"
    if kind == "attention" and constraints.attention_share:
        yield f"{option_name('attention_share')} {constraints.attention_share}"
    if constraints.whole_layers:
        yield option_name("whole_layers")


def _may_differ_in_gguf(traits: ModelTraits, structure: ModelStructure) -> bool:
    """Whether llama.cpp holds the model though its layers differ; raise if it never holds it."""
    forms = GGUF_FORMS.get(traits.model_type)
    if forms is None and structure.has_experts:
        raise UsageError(f"--for llama.cpp: gp export knows no form of {traits.model_type} there.")
    if forms is None:
        raise UsageError(
            f"--for llama.cpp: gp export knows no form of {traits.model_type} there; plan with "
            "--for any, and give the plain checkpoint to llama.cpp's own converter."
        )
    if not any(forms.by_layer.missing_features(traits, structure)):
        return True
    if missing := " and ".join(forms.alike.missing_features(traits, structure)):
        raise UsageError(
            f"--for llama.cpp: no plan makes this {traits.model_type} load there: its "
            f"{forms.alike.architecture} has {missing}."
        )
    return False


def _traits(record: AnalysisRecord) -> ModelTraits:
    """Return the model's traits; raise `UsageError` where an old analysis lacks them."""
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
