"""Which groups must go, may go, or must stay: pins, floors, ceilings, runtimes."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from globalprune.artifacts.analyses.analysis import Analysis, AnalysisRecord
from globalprune.artifacts.analyses.group_table import GroupTable
from globalprune.artifacts.plans.gguf_layout import GGUF_FORMS
from globalprune.artifacts.plans.index_set import IndexSet
from globalprune.artifacts.plans.plan import Constraints, LayerPins, SublayerPins
from globalprune.artifacts.plans.plan_compliance import contradictions
from globalprune.artifacts.plans.runtime_compatibility import counted_by_position, miscounted_whole
from globalprune.artifacts.plans.runtimes import QUANTISED_BLOCK, stock_attention
from globalprune.artifacts.structure import (
    GROUP_TYPES,
    GroupType,
    ModelStructure,
    ModelTraits,
    unprunable_reason,
)
from globalprune.errors import PlanInvalid, UsageError
from globalprune.planning.options import option_name

Mask = NDArray[np.bool_]
Pins = Mapping[int, LayerPins]


@dataclass(frozen=True)
class Eligibility:
    """One flag a row of the table; no row is in both."""

    required: Mask
    free: Mask


def apply_pins(analysis: Analysis, table: GroupTable, pins: Pins, where: str) -> Eligibility:
    """Turn pins, whose indices exist, into masks over `table`; `where` names the file they are of.

    Raise `PlanInvalid` with every contradiction.
    """
    problems = list(_contradictions(analysis, pins))
    if problems:
        raise PlanInvalid(where, problems)
    required, free = np.zeros(len(table), bool), np.ones(len(table), bool)
    for layer, kind, sublayer in _pinned_sublayers(pins):
        if (layer, kind) not in table.sublayers:
            continue  # not measured, or empty: there is nothing to choose
        rows = np.sort(
            table.sublayers[layer, kind]
        )  # in the order of their scores: the worst first
        indices = table.group_idx[rows]
        kept = np.isin(indices, sublayer.keep.resolved(len(rows)).to_array())
        gone = np.isin(indices, sublayer.remove.resolved(len(rows)).to_array())
        free[rows[kept | gone]] = False
        required[rows[gone]] = True
        if sublayer.width is not None:
            more = len(rows) - sublayer.width - int(gone.sum())
            required[rows[~kept & ~gone][:more]] = True
            free[rows] = False
    return Eligibility(required, free)


def _contradictions(analysis: Analysis, pins: Pins) -> Iterator[str]:
    """Yield what no plan can honour, with the way to it."""
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
        had = analysis.record.structure.layers[layer].sublayer(kind)
        yield from (f"{at}.{wish}: {what}" for wish, what in contradictions(sublayer, kind, had))


def _pinned_sublayers(pins: Pins) -> Iterator[tuple[int, GroupType, SublayerPins]]:
    """Yield every sublayer that a wish is about."""
    for layer, wishes in pins.items():
        for kind in GROUP_TYPES:
            if wishes.of(kind):
                yield layer, kind, wishes.of(kind)


_Rows = NDArray[np.intp]


def apply_constraints(
    table: GroupTable, wishes: Eligibility, constraints: Constraints, where: str
) -> Eligibility:
    """The wishes with the constraints; `where` names the file whose pins they may contradict.

    Raise `PlanInvalid` with every collision.
    """
    required, free = wishes.required.copy(), wishes.free.copy()
    protected = set(constraints.protect_layers)
    problems: list[str] = []
    for (layer, kind), by_index in table.sublayers.items():
        rows = np.sort(by_index)  # in the order of their scores: the worst first
        at = f"pin.{layer}.{kind}"
        if layer in protected or constraints.only not in (None, kind):
            reason = "protect_layers" if layer in protected else "only"
            problems += _pinned_to_go(required[rows], f"{at}: collides with {reason}")
            free[rows] = False
            continue
        _keep_best(rows, required, free, _floor(constraints, kind))
        if kind == "mlp" and constraints.round_mlp > 1:
            problems += _round(rows, required, free, constraints, layer)
    if problems:
        raise PlanInvalid(where, problems)
    return Eligibility(required, free)


def _floor(constraints: Constraints, kind: GroupType) -> int:
    """How many groups of every sublayer of a kind stay."""
    floor = constraints.min_attention_groups if kind == "attention" else constraints.min_mlp
    return max(floor, 1) if constraints.uniform else floor  # no stock config has an empty sublayer


def _pinned_to_go(required: NDArray[np.bool_], collision: str) -> Iterator[str]:
    """Yield a complaint where a pin takes what a constraint keeps."""
    if required.any():
        yield f"{collision}, which keeps all of it; take one of the two out."


def _keep_best(
    rows: _Rows, required: NDArray[np.bool_], free: NDArray[np.bool_], floor: int
) -> None:
    """Take the best of the free rows out of what may go, until so many are sure to stay."""
    pinned = int((~required[rows] & ~free[rows]).sum())
    open_rows = rows[free[rows]]
    more = min(max(floor - pinned, 0), len(open_rows))
    free[open_rows[len(open_rows) - more :]] = False


def _round(
    rows: _Rows,
    required: NDArray[np.bool_],
    free: NDArray[np.bool_],
    constraints: Constraints,
    layer: int,
) -> Iterator[str]:
    """Let go what is above a multiple, the worst; yield a complaint where too few may go."""
    multiple = constraints.round_mlp
    stand = int((~required[rows]).sum())
    above = stand % multiple
    open_rows = rows[free[rows]]
    if above > len(open_rows):
        keeping = "pins and min_mlp" if constraints.min_mlp else "pins"
        yield (
            f"round_mlp: collides with {keeping}: in layer {layer} {stand} channels stand, and of "
            f"the {above} above a multiple of {multiple} only {len(open_rows)} may go; keep fewer, "
            "or round to less."
        )
        return
    required[open_rows[:above]] = True
    free[open_rows[:above]] = False


_COUNTING: Final = ("uniform", "round_mlp")


def refuse_impossible(constraints: Constraints, structure: ModelStructure) -> None:
    """Raise `UsageError` where a constraint can't be kept by cutting what may be cut."""
    for kind in structure.fixed:
        for asked in _asking(constraints, kind):
            raise UsageError(f"{asked}: {unprunable_reason(kind)}; leave it out.")
    _refuse_wide(constraints, structure)
    if structure.has_experts and constraints.runtime == "vllm":
        raise UsageError(
            "--for vllm: this model has experts, and vLLM takes those of a layer together; no cut "
            "of it loads there."
        )
    if structure.has_experts:
        for name in (name for name in _COUNTING if name in constraints.said()):
            raise UsageError(
                f"{option_name(name)}: counts the channels of an MLP, and this model has experts, "
                "whose channels are chosen one by one; leave it out (and --for any, which asks it)."
            )


def _refuse_wide(constraints: Constraints, structure: ModelStructure) -> None:
    """Raise `UsageError` where MLPs have no multiple of so many channels."""
    bound = {} if constraints.only == "attention" else dict(enumerate(structure.layers))
    widths = {
        at: layer.mlp.groups
        for at, layer in bound.items()
        if at not in set(constraints.protect_layers) and layer.mlp.groups
    }
    narrow = [at for at, width in widths.items() if width < constraints.round_mlp]
    if narrow:
        raise UsageError(
            f"{option_name('round_mlp')} {constraints.round_mlp}: is more than the "
            f"{max(widths[at] for at in narrow):,} channels that the MLP of "
            f"layer{'s' * (len(narrow) > 1)} {IndexSet.of(narrow)} has at most; round to less."
        )


def _asking(constraints: Constraints, kind: str) -> Iterator[str]:
    """Yield the options that want some of that kind to go."""
    if constraints.only == kind:
        yield f"{option_name('only')} {kind}"
    if kind == "attention" and constraints.attention_share:
        yield f"{option_name('attention_share')} {constraints.attention_share}"
    if constraints.whole_layers:
        yield option_name("whole_layers")


def add_runtime_constraints(constraints: Constraints, record: AnalysisRecord) -> Constraints:
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


def fix_attention_groups(
    table: GroupTable, wishes: Eligibility, width: int, where: str
) -> Eligibility:
    """The wishes, where exactly the `width` best attention groups of every layer stay.

    Raise `PlanInvalid` where they allow more or fewer only.
    """
    required, free = wishes.required.copy(), wishes.free.copy()
    for (layer, kind), by_index in table.sublayers.items():
        if kind != "attention":
            continue
        rows = np.sort(by_index)  # the worst first
        may_go = rows[free[rows]]
        more = int((~required[rows]).sum()) - width
        if not 0 <= more <= len(may_go):
            what = f"pin.{layer}.attention: no plan with {width} groups in every layer keeps it."
            raise PlanInvalid(where, [what])
        required[may_go[:more]] = True
        free[rows] = False
    return Eligibility(required, free)


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
