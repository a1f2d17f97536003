"""What is evaluated: a model, or a model with a plan applied as a mask."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any, Final

from transformers import PreTrainedModel

from globalprune.artifacts.plans.plan import PrunePlan
from globalprune.artifacts.plans.plan_effect import PlanEffect, effect_of, removed_groups
from globalprune.artifacts.plans.plan_file import PlanFile
from globalprune.errors import CheckpointError
from globalprune.evaluation.resources import CONTEXT
from globalprune.models.checkpoints.identity import ModelIdentity
from globalprune.models.loading import load_model, unfuse_experts
from globalprune.models.placement import Placement
from globalprune.models.prepared_model import PreparedModel
from globalprune.models.sources.source import ModelSource
from globalprune.progress import Progress
from globalprune.statistics.hooks import find_sites
from globalprune.statistics.masking import mask_groups

_EMPTY_ATTENTION: Final = 2  # numbers a token: a key and a value of width 1


@dataclass(frozen=True, eq=False)
class MaskedPlan:
    """A plan that is applied as a mask, and the structure of the model that it fits."""

    model: PreparedModel
    file: PlanFile
    effect: PlanEffect

    @property
    def plan(self) -> PrunePlan:
        """The plan in the file."""
        return self.file.plan

    @property
    def removed_cache_numbers(self) -> Fraction:
        """By how many numbers the plan shrinks what a token of a context leaves in the KV cache.

        An attention that lost every group still leaves a key and a value of one number, unless its
        layer is dropped: the length of a cache of width 0 can't be read.
        """
        removed = Fraction(0)
        for layer, kept in zip(self.model.structure.layers, self.effect.layers, strict=True):
            groups = layer.attention.groups - len(kept.attention)
            emptied = groups and not kept.attention and not kept.dropped
            share = Fraction(layer.visible_tokens(CONTEXT), CONTEXT)
            removed += share * (2 * layer.head_dim * groups - (_EMPTY_ATTENTION if emptied else 0))
        return removed

    def warnings(self) -> Iterator[str]:
        """Yield what a reader of the mask's figures should know."""
        yield f"{self.file.path}: judged as a mask on the whole model; its speed was not measured."
        if self.plan.analysis is not None and self.plan.analysis.assumes == "compensation":
            yield (
                f"{self.file.path}: counts on compensation, and a mask has none; judge what gp "
                "apply --compensate writes."
            )


@dataclass(frozen=True)
class Candidate:
    """A model that is evaluated."""

    model: PreparedModel
    identity: ModelIdentity | None  # all that decides its answers; None: no result is cached
    mask: MaskedPlan | None = None  # a plan that is applied as a mask

    @property
    def name(self) -> str:
        """The model as the user named it, with the plan."""
        return self.model.name if self.mask is None else f"{self.model.name}, {self.mask.file.path}"

    @property
    def source(self) -> ModelSource:
        """Where the model is."""
        return self.model.source

    @property
    def max_positions(self) -> int | None:
        """Tokens in the longest window that the model was made for."""
        positions: int | None = self.model.checkpoint.config.get("max_position_embeddings")
        return positions


def open_candidate(model: PreparedModel, *, identifying: Progress | None = None) -> Candidate:
    """Read a model's config and fingerprint.

    With `identifying`, which shows the progress, also read what its identity needs. Raise
    `CheckpointError` for a model that is no language model.
    """
    if "vocab_size" not in model.checkpoint.config:
        raise CheckpointError(
            f"{model.name}: its config has no vocab_size; is it a language model?"
        )
    model.weights()
    model.release_weights()  # a GGUF file's are about to be loaded again
    return Candidate(model, None if identifying is None else model.identity(identifying))


def with_mask(file: PlanFile, candidate: Candidate) -> Candidate:
    """The same model with a plan as a mask, which was read for the model's structure."""
    model = candidate.model
    effect = effect_of(file.plan, model.structure)
    return replace(candidate, mask=MaskedPlan(model, file, effect))


def load_candidate(
    candidate: Candidate, placement: Placement, *, trust_remote_code: bool
) -> PreTrainedModel:
    """Load a model, and apply its mask if it has one."""
    model = load_model(
        candidate.model.checkpoint,
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
    structure = mask.model.structure
    sites = find_sites(model, mask.model.adapter, structure, range(len(structure.layers)))
    mask_groups(sites, removed_groups(mask.plan, structure))
