"""What is evaluated: a model, or a model with a plan applied as a mask."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

from transformers import PreTrainedModel

from globalprune.artifacts.plans.plan import PrunePlan
from globalprune.artifacts.plans.plan_effect import PlanEffect, effect_of, removed_groups
from globalprune.artifacts.plans.plan_file import read_plan
from globalprune.artifacts.structure import ModelStructure
from globalprune.errors import CheckpointError
from globalprune.evaluation.resources import CONTEXT
from globalprune.models.architecture import ModelAdapter
from globalprune.models.checkpoints.checkpoint import Checkpoint
from globalprune.models.checkpoints.fingerprint import weights_fingerprint
from globalprune.models.checkpoints.identity import ModelIdentity, identify_model
from globalprune.models.checkpoints.open import open_checkpoint
from globalprune.models.loading import load_model, unfuse_experts
from globalprune.models.placement import Placement
from globalprune.models.registry import adapter_for
from globalprune.models.sources.source import ModelSource, resolve_model
from globalprune.progress import Progress
from globalprune.statistics.hooks import find_sites
from globalprune.statistics.masking import mask_groups

_STUB: Final = 2  # numbers


@dataclass(frozen=True, eq=False)
class MaskedPlan:
    """A plan that fits a model."""

    path: Path
    plan: PrunePlan
    adapter: ModelAdapter
    structure: ModelStructure
    effect: PlanEffect

    @property
    def cached_numbers(self) -> Fraction:
        """How many numbers fewer a token of a context leaves in the KV cache.

        An attention that lost every group still leaves a key and a value of one number, unless its
        layer is dropped: a cache of no size tells no length.
        """
        fewer = Fraction(0)
        for layer, stays in zip(self.structure.layers, self.effect.layers, strict=True):
            gone = layer.attention.groups - len(stays.attention)
            emptied = gone and not stays.attention and not stays.dropped
            share = Fraction(layer.visible_tokens(CONTEXT), CONTEXT)
            fewer += share * (2 * layer.head_dim * gone - (_STUB if emptied else 0))
        return fewer

    def doubts(self) -> Iterator[str]:
        """Yield what makes the figures less than they seem."""
        yield f"{self.path}: judged as a mask on the whole model; its speed was not measured."
        if self.plan.analysis is not None and self.plan.analysis.assumes == "compensation":
            yield (
                f"{self.path}: counts on compensation, and a mask has none; judge what gp apply "
                "--compensate writes."
            )


def read_masked_plan(path: Path, checkpoint: Checkpoint) -> MaskedPlan:
    """Read a plan for a model; raise `PlanInvalid` or `PlanStale` where it doesn't fit it."""
    adapter = adapter_for(checkpoint.config)
    structure = adapter.structure(checkpoint)
    plan = read_plan(path, structure)
    return MaskedPlan(path, plan, adapter, structure, effect_of(plan, structure))


def apply_mask(model: Any, mask: MaskedPlan) -> None:
    """Let nothing that goes reach the output projections, for good; their biases stay."""
    layers = range(len(mask.structure.layers))
    sites = find_sites(model, mask.adapter, mask.structure, layers)
    mask_groups(sites, removed_groups(mask.plan, mask.structure))


@dataclass(frozen=True)
class Candidate:
    """A model that will be judged."""

    source: ModelSource
    vocab_size: int
    longest: int | None  # tokens that it was made for
    weights: str  # fingerprint
    identity: ModelIdentity | None  # all that decides what it answers; None: nothing is kept
    mask: MaskedPlan | None = None  # a plan that it is judged by, without being cut

    @property
    def name(self) -> str:
        """As it was named, with the plan."""
        return self.source.name if self.mask is None else f"{self.source.name}, {self.mask.path}"


def open_candidate(name: str, *, reading: Progress | None = None) -> Candidate:
    """Resolve a model and read its config and fingerprint; with `reading`, take its identity."""
    source = resolve_model(name)
    checkpoint = open_checkpoint(source)
    config = checkpoint.config
    if "vocab_size" not in config:
        raise CheckpointError(f"{name}: its config has no vocab_size; is it a language model?")
    return Candidate(
        source,
        config["vocab_size"],
        config.get("max_position_embeddings"),
        weights_fingerprint(checkpoint),
        None if reading is None else identify_model(source, reading),
    )


def with_mask(plan: Path, candidate: Candidate) -> Candidate:
    """The same model behind a mask; raise where the plan doesn't fit it."""
    return replace(candidate, mask=read_masked_plan(plan, open_checkpoint(candidate.source)))


def load_candidate(
    candidate: Candidate, placement: Placement, *, trust_remote_code: bool
) -> PreTrainedModel:
    """Load a model to be judged, behind its mask."""
    model = load_model(
        candidate.source,
        dtype=placement.dtype,
        device=placement.device,
        trust_remote_code=trust_remote_code,
    )
    if candidate.mask is not None:
        unfuse_experts(model)
        apply_mask(model, candidate.mask)
    return model
