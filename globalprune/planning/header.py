"""The comment at the top of a plan: what it does, recomputed, so that no edit makes it lie."""

from globalprune.artifacts.analyses.analysis import Scoring
from globalprune.artifacts.plans.index_set import IndexRanges
from globalprune.artifacts.plans.plan import PrunePlan
from globalprune.artifacts.plans.plan_effect import PlanEffect
from globalprune.artifacts.stored_weights import StoredWeights
from globalprune.artifacts.structure import GROUP_TYPES, GroupType, ModelStructure
from globalprune.planning.optimality import Optimality
from globalprune.planning.resources import resources_of

_NO_PERPLEXITY = "(sums of importance are no perplexity)"
_NAMES: dict[GroupType, tuple[str, str]] = {
    "attention": ("attention group", "attention groups"),
    "mlp": ("mlp channel", "mlp channels"),
}


def header_of(
    plan: PrunePlan,
    structure: ModelStructure,
    effect: PlanEffect,
    scoring: Scoring,
    found: Optimality | None,
    doubt: str | None,
    storage: StoredWeights | None = None,
) -> tuple[str, ...]:
    """The lines of the comment; the first says whether a person had a hand in the decisions.

    A `doubt` about the analysis is the second.
    """
    state = "as written" if plan.generated is None else "as edited"
    if not plan.edited:
        state = "as generated"
    return (
        f"{state}: {removal_text(effect)}",
        *filter(None, [doubt]),
        f"leaves {effect.parameters_after:,} parameters{_shares_text(effect, structure)}",
        *resources_of(plan, effect, structure, storage).lines,
        *importance_lines(plan, scoring, found),
    )


def removal_text(effect: PlanEffect) -> str:
    """`removes 26,903,232 of 134,515,008 parameters (20.00 %): 4 attention groups, 1 layer`."""
    counts = [
        _counted(number, *_NAMES[kind]) for kind, number in effect.removed_groups.items() if number
    ]
    if effect.dropped_layers:
        numbers = str(IndexRanges.of(effect.dropped_layers))
        counts.append(f"{_counted(len(effect.dropped_layers), 'layer', 'layers')} ({numbers})")
    share = f"{100 * effect.ratio:.2f} %"
    return (
        f"removes {effect.removed:,} of {effect.parameters_before:,} parameters ({share}): "
        f"{', '.join(counts) or 'nothing'}"
    )


def importance_lines(
    plan: PrunePlan, scoring: Scoring, found: Optimality | None
) -> tuple[str, ...]:
    """What goes of the summed importance, and how near that is to the best that could be."""
    if found is None:
        return (f"importance lost: unknown, since layers go that were not measured ({scoring})",)
    lost = f"importance lost: {found.lost:.4g}"
    if plan.analysis is not None and plan.analysis.assumes == "compensation":
        # what comes last in an order is worth what all before it hid, so a share says nothing
        lost += f" nats a token by {scoring}, behind compensation"
        return (
            lost,
            f"any cut as large loses at least {found.least:.4g} {_NO_PERPLEXITY}",
        )
    if found.total <= 0:  # importances below 0 have no shares
        return (f"{lost} by {scoring}",)
    lost += f" by {scoring} ({100 * found.lost / found.total:.2f} % of all)"
    bound = f"{100 * found.bound / found.total:.2f} %"
    kept = f"keeps {100 * found.kept / found.total:.2f} %; any cut as large keeps {bound}"
    return lost, f"{kept} at most, a gap of {100 * found.gap:.2g} % {_NO_PERPLEXITY}"


def shares_of(effect: PlanEffect, structure: ModelStructure) -> dict[GroupType, float]:
    """How what goes divides between attention and MLP: fractions of the removed parameters."""
    parts: dict[GroupType, int] = dict.fromkeys(GROUP_TYPES, 0)
    for index, kind, half in structure.halves():
        parts[kind] += (half.groups - len(effect.layers[index].of(kind))) * half.cost
    return {kind: part / (effect.removed or 1) for kind, part in parts.items()}


def _shares_text(effect: PlanEffect, structure: ModelStructure) -> str:
    """The same in words; nothing where nothing goes."""
    if not effect.removed:
        return ""
    shares = shares_of(effect, structure).items()
    return "; of what goes, " + " and ".join(
        f"{100 * share:.1f} % {kind}" for kind, share in shares
    )


def _counted(count: int, one: str, many: str) -> str:
    return f"{count:,} {one if count == 1 else many}"
