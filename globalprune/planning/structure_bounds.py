"""Constraints that ask for a cut of what can't be cut: refused, with the reason."""

from collections.abc import Iterator
from typing import Final

from globalprune.artifacts.plans.index_set import IndexRanges
from globalprune.artifacts.plans.plan import Constraints
from globalprune.artifacts.structure import ModelStructure, why_fixed
from globalprune.errors import UsageError
from globalprune.planning.asked import option_of

_COUNTING: Final = ("uniform", "round_mlp")


def refuse_impossible(constraints: Constraints, structure: ModelStructure) -> None:
    """Raise `UsageError` where a constraint can't be kept by cutting what may be cut."""
    for kind in structure.fixed:
        for asked in _asking(constraints, kind):
            raise UsageError(f"{asked}: {why_fixed(kind)}; leave it out.")
    _refuse_wide(constraints, structure)
    if structure.has_experts and constraints.runtime == "vllm":
        raise UsageError(
            "--for vllm: this model has experts, and vLLM takes those of a layer together; no cut "
            "of it loads there."
        )
    if structure.has_experts:
        for name in (name for name in _COUNTING if name in constraints.said()):
            raise UsageError(
                f"{option_of(name)}: counts the channels of an MLP, and this model has experts, "
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
            f"{option_of('round_mlp')} {constraints.round_mlp}: is more than the "
            f"{max(widths[at] for at in narrow):,} channels that the MLP of "
            f"layer{'s' * (len(narrow) > 1)} {IndexRanges.of(narrow)} has at most; round to less."
        )


def _asking(constraints: Constraints, kind: str) -> Iterator[str]:
    """Yield the options that want some of that kind to go."""
    if constraints.only == kind:
        yield f"{option_of('only')} {kind}"
    if kind == "attention" and constraints.attention_share:
        yield f"{option_of('attention_share')} {constraints.attention_share}"
    if constraints.whole_layers:
        yield option_of("whole_layers")
