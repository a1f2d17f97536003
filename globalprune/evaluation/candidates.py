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

_EMPTY_ATTENTION: Final = 2  # numbers a token: a key and a value of width 1


@dataclass(frozen=True, eq=False)
class MaskedPlan:
    """A plan that is applied as a mask, and the structure of the model that it fits."""

    path: Path
    plan: PrunePlan
    adapter: ModelAdapter
    structure: ModelStructure
    effect: PlanEffect

    @property
    def removed_cache_numbers(self) -> Fraction:
        """By how many numbers the plan shrinks what a token of a context leaves in the KV cache.

        An attention that lost every group still leaves a key and a value of one number, unless its
        layer is dropped: the length of a cache of width 0 can't be read.
        """
        removed = Fraction(0)
        for layer, kept in zip(self.structure.layers, self.effect.layers, strict=True):
            groups = layer.attention.groups - len(kept.attention)
            emptied = groups and not kept.attention and not kept.dropped
            share = Fraction(layer.visible_tokens(CONTEXT), CONTEXT)
            removed += share * (2 * layer.head_dim * groups - (_EMPTY_ATTENTION if emptied else 0))
        return removed

    def warnings(self) -> Iterator[str]:
        """Yield what a reader of the mask's figures should know."""
        yield f"{self.path}: judged as a mask on the whole model; its speed was not measured."
        if self.plan.analysis is not None and self.plan.analysis.assumes == "compensation":
            yield (
                f"{self.path}: counts on compensation, and a mask has none; judge what gp apply "
                "--compensate writes."
            )


@dataclass(frozen=True)
class Candidate:
    """A model that is evaluated."""

    source: ModelSource
    vocab_size: int
    max_positions: int | None  # tokens that it was made for
    weights: str  # fingerprint
    identity: ModelIdentity | None  # all that decides its answers; None: no result is cached
    mask: MaskedPlan | None = None  # a plan that is applied as a mask

    @property
    def name(self) -> str:
        """The model as the user named it, with the plan."""
        return self.source.name if self.mask is None else f"{self.source.name}, {self.mask.path}"


def open_candidate(name: str, *, identifying: Progress | None = None) -> Candidate:
    """Resolve a model and read its config and fingerprint.

    With `identifying`, which shows the progress, also read what its identity needs. Raise
    `CheckpointError` for a model that is no language model.
    """
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
        None if identifying is None else identify_model(source, identifying),
    )


def with_mask(plan: Path, candidate: Candidate) -> Candidate:
    """The same model with a plan as a mask; raise where the plan doesn't fit the model."""
    return replace(candidate, mask=read_masked_plan(plan, open_checkpoint(candidate.source)))


def read_masked_plan(path: Path, checkpoint: Checkpoint) -> MaskedPlan:
    """Read a plan for a model; raise `PlanInvalid` or `PlanStale` where it doesn't fit it."""
    adapter = adapter_for(checkpoint.config)
    structure = adapter.structure(checkpoint)
    plan = read_plan(path, structure)
    return MaskedPlan(path, plan, adapter, structure, effect_of(plan, structure))


def load_candidate(
    candidate: Candidate, placement: Placement, *, trust_remote_code: bool
) -> PreTrainedModel:
    """Load a model, and apply its mask if it has one."""
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


def apply_mask(model: Any, mask: MaskedPlan) -> None:
    """Keep the groups that the plan removes from the output projections, whose biases stay.

    The mask can't be taken off the model again.
    """
    layers = range(len(mask.structure.layers))
    sites = find_sites(model, mask.adapter, mask.structure, layers)
    mask_groups(sites, removed_groups(mask.plan, mask.structure))
