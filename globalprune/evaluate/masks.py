"""A model as a plan would leave it, without cutting it: what goes adds nothing to the stream.

Masking says what cutting does, so perplexity and answers are those of the cut model. Nothing gets
smaller or faster by it: sizes are counted from the plan, files and speed are not to be had. A plan
that counts on compensation is judged without it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

from globalprune.artifacts.plans.plan import PrunePlan
from globalprune.artifacts.plans.plan_effect import PlanEffect, effect_of, removed_groups
from globalprune.artifacts.plans.plan_file import read_plan
from globalprune.artifacts.structure import ModelStructure
from globalprune.evaluate.efficiency import CONTEXT
from globalprune.models.architecture import ModelAdapter
from globalprune.models.checkpoints.checkpoint import Checkpoint
from globalprune.models.registry import adapter_for
from globalprune.statistics.hooks import find_sites
from globalprune.statistics.masking import mask_groups

_STUB: Final = 2  # numbers


@dataclass(frozen=True, eq=False)
class Mask:
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
            share = Fraction(layer.seen_of(CONTEXT), CONTEXT)
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


def read_mask(path: Path, checkpoint: Checkpoint) -> Mask:
    """Read a plan for a model; raise `PlanInvalid` or `PlanStale` where it doesn't fit it."""
    adapter = adapter_for(checkpoint.config)
    structure = adapter.structure(checkpoint)
    plan = read_plan(path, structure)
    return Mask(path, plan, adapter, structure, effect_of(plan, structure))


def put_on(model: Any, mask: Mask) -> None:
    """Let nothing that goes reach the output projections, for good; their biases stay."""
    layers = range(len(mask.structure.layers))
    sites = find_sites(model, mask.adapter, mask.structure, layers)
    mask_groups(sites, removed_groups(mask.plan, mask.structure))
