"""A review of a plan, as text and as a JSON document."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from globalprune.planning.review import Review

_SHOWN = 12  # edited halves in the text; the JSON document has all


def review_lines(review: "Review") -> list[str]:
    """Say what the plan does, layer by layer where something goes, and what was edited."""
    from globalprune.planning.header import lost_text, removal_text

    if review.effect is None or review.analysis is None or review.worth is None:
        return [
            f"{review.path}: a valid plan for {len(review.plan.layers)} layers",
            *_edits(review),
        ]
    structure = review.analysis.record.structure
    return [
        f"{review.path}: {removal_text(review.effect)}",
        f"importance lost: {lost_text(review.plan, structure, review.worth)}",
        *_edits(review),
    ]


def _edits(review: "Review") -> list[str]:
    """Say what a person changed since gp plan wrote the file."""
    if review.plan.generated is None:
        return ["written by hand: gp plan wrote nothing to compare it with"]
    if not review.plan.edited:
        return ["as gp plan wrote it"]
    if review.edits is None:
        return ["edited by hand; what gp plan wrote can't be made again, so edits aren't listed"]
    lines = ["edited by hand:"]
    for half in review.edits[:_SHOWN]:
        at = f"  layer {half.layer_idx} {half.group_type}:"
        lines += [f"{at} now stays {half.only_first}"] if half.only_first else []
        lines += [f"{at} now goes {half.only_second}"] if half.only_second else []
    if len(review.edits) > _SHOWN:
        lines.append(f"  … and {len(review.edits) - _SHOWN} more halves (--json has all)")
    return lines if review.edits else [*lines, "  pins or remove_empty_layers, no group"]


def document_of(review: "Review") -> dict[str, Any]:
    """Everything, for a program; unknown figures are null."""
    from globalprune.planning.header import lost_importance

    document: dict[str, Any] = {
        "plan": str(review.path),
        "valid": True,
        "edited": review.plan.edited,
        "decisions": review.plan.model_dump(mode="json", exclude_none=True),
        "notes": list(review.notes),
        "figures": None,
        "removed": None,
        "edits": None,
        "description": None,
    }
    if review.edits is not None:
        document["edits"] = [
            {
                "layer_idx": half.layer_idx,
                "group_type": half.group_type,
                "now_stays": str(half.only_first),
                "now_goes": str(half.only_second),
            }
            for half in review.edits
        ]
    if review.effect is None or review.analysis is None or review.worth is None:
        return document
    structure = review.analysis.record.structure
    lost = lost_importance(review.plan, structure, review.worth)
    return document | {
        "figures": {
            "parameters_before": review.effect.parameters_before,
            "parameters_after": review.effect.parameters_after,
            "removed": review.effect.removed,
            "ratio": review.effect.ratio,
            "removed_groups": review.effect.removed_groups,
            "dropped_layers": review.effect.dropped_layers,
            "importance": review.worth.name,
            "importance_lost": lost,
            "importance_total": review.worth.total,
        },
        "removed": _removed(review),
        "description": review.analysis.record.model_dump(
            mode="json", exclude={"structure": True, "calibration": {"document_digests"}}
        ),
    }


def _removed(review: "Review") -> list[dict[str, Any]]:
    """The groups that go, a half an entry."""
    from globalprune.artifacts.plan_effect import removed_by

    if review.analysis is None:
        return []
    return [
        {"layer_idx": layer, "group_type": kind, "group_idx": list(indices)}
        for layer, kind, indices in removed_by(review.plan, review.analysis.record.structure)
    ]
