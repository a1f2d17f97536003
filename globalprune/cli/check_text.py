"""A review of a plan, as text and as a JSON document."""

from typing import TYPE_CHECKING, Any

from globalprune.cli.ranges_text import SHOWN_HALVES, shortened

if TYPE_CHECKING:
    from globalprune.planning.diff import HalfDifference
    from globalprune.planning.review import Known, Review
    from globalprune.planning.summary import Optimality

_NOT_AGAIN = (
    "edited by hand; what gp plan wrote can't be made again from its target and analysis (was one "
    "of them changed?), so edits aren't listed"
)


def review_lines(review: "Review") -> list[str]:
    """Say what the plan does, and what was edited since gp plan wrote it."""
    from globalprune.planning.summary import importance_lines, removal_text

    known = review.known
    if known is None:
        cut = ", ".join(map(str, review.plan.layers)) or "none"
        return [f"{review.path}: a valid plan; layers that it cuts: {cut}", *_edits(review)]
    return [
        *filter(None, [known.doubt]),
        f"{review.path}: {removal_text(known.effect)}",
        *known.resources.lines,
        *importance_lines(review.plan, known.worth.scoring, known.optimality),
        *([] if known.latency is None else [f"takes {known.latency:.3f} ms a token"]),
        *_edits(review),
    ]


def _edits(review: "Review") -> list[str]:
    """Say what a person changed."""
    if review.plan.generated is None:
        return ["written by hand: gp plan wrote nothing to compare it with"]
    if not review.plan.edited:
        return ["as gp plan wrote it"]
    edits = review.known.edits if review.known else None
    if edits is None:
        return [_NOT_AGAIN]
    if not edits:
        return ["edited by hand: pins or remove_empty_layers, no group"]
    lines = ["edited by hand:"]
    for half in edits[:SHOWN_HALVES]:
        at = f"  layer {half.layer_idx} {half.group_type}:"
        lines += [f"{at} now stays {shortened(half.only_first)}"] if half.only_first else []
        lines += [f"{at} now goes {shortened(half.only_second)}"] if half.only_second else []
    if len(edits) > SHOWN_HALVES:
        lines.append(f"  … and {len(edits) - SHOWN_HALVES} more halves (--json has all)")
    return lines


def document_of(review: "Review") -> dict[str, Any]:
    """Everything, for a program; unknown figures are null."""
    known = review.known
    return {
        "doubt": None if known is None else known.doubt,
        "plan": str(review.path),
        "valid": True,
        "edited": review.plan.edited,
        "edits": None if known is None or known.edits is None else _edit_list(known.edits),
        "decisions": review.plan.model_dump(mode="json", exclude_none=True),
        "figures": None if known is None else _figures(known),
        "removed": None if known is None else _removed(review, known),
        "description": None if known is None else _description(known),
        "notes": list(review.notes),
    }


def _edit_list(edits: "tuple[HalfDifference, ...]") -> list[dict[str, Any]]:
    """The edits, a half an entry."""
    return [
        {
            "layer_idx": half.layer_idx,
            "group_type": half.group_type,
            "now_stays": str(half.only_first),
            "now_goes": str(half.only_second),
        }
        for half in edits
    ]


def _figures(known: "Known") -> dict[str, Any]:
    """What the plan removes and leaves."""
    return {
        "parameters_before": known.effect.parameters_before,
        "parameters_after": known.effect.parameters_after,
        "removed": known.effect.removed,
        "ratio": known.effect.ratio,
        "removed_groups": known.effect.removed_groups,
        "dropped_layers": known.effect.dropped_layers,
        **known.resources.document,
        "latency": known.latency,
        "importance": known.worth.scoring.importance,
        "normaliser": known.worth.scoring.normaliser,
        "importance_total": known.worth.total,
        **optimality_document(known.optimality),
    }


def optimality_document(found: "Optimality | None") -> dict[str, float | None]:
    """What is lost, and the bound; sums of importance are no perplexity."""
    return {
        "importance_lost": found.lost if found else None,
        "importance_kept": found.kept if found else None,
        "importance_kept_at_most": found.bound if found else None,
        "gap": found.gap if found else None,
    }


def _removed(review: "Review", known: "Known") -> list[dict[str, Any]]:
    """The groups that go, a half an entry."""
    from globalprune.artifacts.plans.plan_effect import removed_by

    return [
        {"layer_idx": layer, "group_type": kind, "group_idx": indices.tolist()}
        for layer, kind, indices in removed_by(review.plan, known.structure)
    ]


def _description(known: "Known") -> dict[str, Any]:
    """What was measured and how, without what is long."""
    long: Any = {"structure": True, "calibration": {"document_digests"}}
    description: dict[str, Any] = known.analysis.record.model_dump(mode="json", exclude=long)
    return description
