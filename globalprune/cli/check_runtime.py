"""`gp check --for`: whether a runtime could load what a plan leaves."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from globalprune.errors import UsageError

if TYPE_CHECKING:
    from globalprune.artifacts.plans.plan_effect import PlanEffect
    from globalprune.artifacts.plans.runtimes import Runtime
    from globalprune.artifacts.structure import ModelStructure
    from globalprune.planning.review import Review
    from globalprune.surgery.prepare import Prepared


@dataclass(frozen=True)
class Loading:
    """What stands against loading the cut model somewhere, and what is to be known if it loads."""

    runtime: str
    obstacles: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def where(self) -> str:
        """The runtime, in words."""
        return "every runtime, as a plain checkpoint" if self.runtime == "any" else self.runtime

    @property
    def lines(self) -> list[str]:
        """The answer for a person."""
        if self.obstacles:
            return [f"doesn't load in {self.where}: {one}" for one in self.obstacles]
        return [f"loads in {self.where}", *(f"  {note}" for note in self.notes)]

    @property
    def document(self) -> dict[str, Any]:
        """The answer for a program."""
        return {
            "runtime": self.runtime,
            "loads": not self.obstacles,
            "obstacles": list(self.obstacles),
            "notes": list(self.notes),
        }


def runtime_named(name: str) -> "Runtime":
    """The runtime of that name; raise `UsageError` where there is none."""
    from globalprune.artifacts.plans.runtimes import RUNTIMES

    runtime = next((known for known in RUNTIMES if known == name), None)
    if runtime is None:
        raise UsageError(f"--for {name}: is not known; there are {', '.join(RUNTIMES)}.")
    return runtime


def loading_in(runtime: "Runtime", review: "Review", prepared: "Prepared | None") -> Loading:
    """Judge by the model if there is one, else by the analysis.

    Raise `UsageError` where nothing tells what the model is.
    """
    from globalprune.artifacts.plans.gguf_layout import gguf_shape
    from globalprune.artifacts.plans.runtime_compatibility import (
        narrow_qwen2,
        obstacles,
        vllm_notes,
    )

    known = review.known
    if prepared is not None:
        from globalprune.models.configs.pruned_config import traits_of

        traits = traits_of(prepared.checkpoint.config)
        structure, effect = prepared.structure, prepared.effect
    elif known is not None and known.analysis.record.model.traits is not None:
        traits = known.analysis.record.model.traits
        structure, effect = known.structure, known.effect
    else:
        raise UsageError(f"--for {runtime}: nothing tells what the model is; name it with --model.")
    found = tuple(obstacles(runtime, traits, structure, effect))
    notes: tuple[str, ...] = ()
    if runtime in ("llama.cpp", "any"):
        notes = _unquantised(structure, effect)
    if runtime == "llama.cpp" and (shape := gguf_shape(traits, structure, effect)):
        notes = (*notes, *shape.told(traits.hidden_size))
    if runtime == "any":
        notes = (*notes, *narrow_qwen2(traits, structure, effect))
    if runtime == "vllm":
        notes = tuple(vllm_notes(traits, structure, effect))
    return Loading(runtime, found, notes)


def _unquantised(structure: "ModelStructure", effect: "PlanEffect") -> tuple[str, ...]:
    """Tell of MLPs that can't be quantised, although those of the whole model can."""
    from globalprune.artifacts.plans.index_set import IndexRanges
    from globalprune.artifacts.plans.runtimes import QUANTISED_BLOCK

    odd = [
        layer.layer_idx
        for layer in effect.kept_layers
        if len(layer.mlp) % QUANTISED_BLOCK
        and structure.layers[layer.layer_idx].mlp.groups % QUANTISED_BLOCK == 0
    ]
    if not odd:
        return ()
    note = (
        f"the MLP widths of layers {IndexRanges.of(odd)} are no multiples of {QUANTISED_BLOCK}, so "
        "that their down projections can't be quantised; plan with --for llama.cpp."
    )
    return (note,)
