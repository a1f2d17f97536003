"""What commands print about plans: as text for a person, and as JSON for a program."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from globalprune.cli import console
from globalprune.errors import BudgetError

if TYPE_CHECKING:
    from globalprune.artifacts.plans.budgets import BudgetStatus
    from globalprune.artifacts.plans.index_set import IndexSet
    from globalprune.planning.diff import SublayerDifference
    from globalprune.planning.planner import PlanResult
    from globalprune.planning.review import PlanReview
    from globalprune.planning.summary import PlanFigures

SHOWN_SUBLAYERS: Final = 200  # more are for --json
_WIDTH: Final = 32  # characters of indices
_UNKNOWN_EDITS: Final = (
    "edited by hand; what gp plan wrote can't be made again from its target and analysis (was one "
    "of them changed?), so edits aren't listed"
)


def plan_lines(results: "Sequence[PlanResult]") -> list[str]:
    """Return what every written plan removes, and what that costs."""
    from globalprune.planning.summary import importance_lines, removal_text

    lines = []
    for result in results:
        if not result.written:
            continue
        lines.append(f"{result.path}: {removal_text(result.effect)}")
        details = [
            *result.figures.resources.lines,
            *(
                f"leaves {status.after_text}, of {status.before_text}"
                for status in result.statuses
                if "latency" in status.requirement.budgets
            ),
            *importance_lines(result.plan, result.figures),
        ]
        lines += [f"  {line}" for line in details]
    return lines


def finish(
    results: "Sequence[PlanResult]", *, by_default: bool = False, remedy: str = "--largest"
) -> None:
    """Print the warnings of written plans; raise `BudgetError` where a target is not met.

    Where the budget is only the default, that is a note. `remedy` is the option that writes the
    largest plan all the same.
    """
    print_warnings(results)
    raise_if_short(results, by_default=by_default, remedy=remedy)


def raise_if_short(
    results: "Sequence[PlanResult]", *, by_default: bool = False, remedy: str = "--largest"
) -> None:
    """Do the same as `finish`, without the warnings."""
    messages = [_unmet_message(result, remedy) for result in results if not result.is_met]
    if messages and by_default:
        for message in messages:
            console.note(f"by the default ratio: {message}")
    elif messages:
        raise BudgetError("\n".join(messages))


def print_warnings(results: "Sequence[PlanResult]") -> None:
    """Print the warnings of the plans that were written, each once."""
    warnings = (warning for result in results if result.written for warning in result.warnings)
    for warning in dict.fromkeys(warnings):
        console.note(warning)


def plan_document(result: "PlanResult") -> dict[str, Any]:
    """Return one plan's figures for a program; of a plan that was not written, what it would be."""
    return {
        "path": str(result.path),
        "written": result.written,
        "asked": result.plan.target.explicit() if result.plan.target else {},
        "budgets": [_status_document(status) for status in result.statuses],
        **_effect_document(result.figures),
        "reached": result.is_met,
        "in_the_way": result.obstacles,
        "broken": result.violations,
        **_optimality_document(result.figures),
        "notes": result.warnings,
    }


def review_lines(review: "PlanReview") -> list[str]:
    """Return what the plan does, and what was edited since gp plan wrote it."""
    from globalprune.planning.summary import importance_lines, removal_text

    figures = review.figures
    if figures is None:
        cut = ", ".join(map(str, review.plan.layers)) or "none"
        return [f"{review.path}: a valid plan; layers that it cuts: {cut}", *_edit_lines(review)]
    return [
        *filter(None, [figures.trial_warning]),
        f"{review.path}: {removal_text(figures.effect)}",
        *figures.resources.lines,
        *importance_lines(review.plan, figures),
        *([] if review.latency is None else [f"takes {review.latency:.3f} ms a token"]),
        *_edit_lines(review),
    ]


def review_document(review: "PlanReview") -> dict[str, Any]:
    """Return all that is known of a plan, for a program; unknown figures are null."""
    figures = review.figures
    return {
        "doubt": None if figures is None else figures.trial_warning,
        "plan": str(review.path),
        "valid": True,
        "edited": review.plan.edited,
        "edits": None
        if review.edits is None
        else [_edit_document(sublayer) for sublayer in review.edits],
        "decisions": review.plan.model_dump(mode="json", exclude_none=True),
        "figures": None if figures is None else _figures_document(figures, review.latency),
        "removed": None if figures is None else _removed_groups(review, figures),
        "description": None if figures is None else _description(figures),
        "notes": list(review.warnings),
    }


def shortened(indices: "IndexSet") -> str:
    """Spell a set of indices, cut short after a comma where it is long, with its length."""
    text = str(indices)
    if len(text) <= _WIDTH:
        return text
    head = text[: text.rindex(", ", 0, _WIDTH)]
    return f"{head}, … ({len(indices):,} in all)"


def shortfall(result: "PlanResult") -> str:
    """Return which budgets ask for too much, and what can be had."""
    return " and ".join(
        _shortfall(result, status) for status in result.statuses if not status.is_met
    )


def _shortfall(result: "PlanResult", status: "BudgetStatus") -> str:
    """Describe how far one budget is missed: a ratio is too high, or a remainder too low."""
    beyond = (
        f"more than {result.limits_text} allow"
        if "ratio" in status.requirement.budgets
        else f"less than {result.limits_text} leave"
    )
    reachable = status.requirement.reachable(status.saved)
    return (
        f"{result.budgets_text(status)} asks for {beyond}, which is {reachable} "
        f"({status.after_text} left of {status.before_text})"
    )


def _unmet_message(result: "PlanResult", remedy: str) -> str:
    """Return how far a plan misses its target, why, and whether it was written."""
    violations = " ".join(result.violations)
    older = f" ({result.path} is an older one)" if result.path.exists() else ""
    if all(status.is_met for status in result.statuses):
        done = (
            "it was written all the same."
            if result.written
            else (f"no plan was written{older}; say {remedy} to have the nearest one.")
        )
        return f"{result.path}: {violations} So {done}"
    is_ratio = any("ratio" in status.requirement.budgets for status in result.statuses)
    ways = [f"ask for no {'more' if is_ratio else 'less'} than that"]
    if not result.all_measured:
        ways.append("measure more layers")
    if result.obstacles:
        ways.append(f"do without {' or '.join(result.obstacles)}")
    if not result.written:
        ways.append(f"say {remedy} to have the largest plan")
    made = "the largest plan was written" if result.written else f"no plan was written{older}"
    stays = f"{result.out_of_reach:,} parameters are in no measured group, so they stay"
    text = f"{result.path}: {shortfall(result)}; {stays}; {made}. {_joined_remedies(ways)}."
    return f"{text} {violations}".rstrip()


def _joined_remedies(ways: list[str]) -> str:
    """Join remedies into a sentence: `Ask for …, or do without …`."""
    *first, last = ways
    text = f"{', '.join(first)}, or {last}" if first else last
    return text[0].upper() + text[1:]


def _edit_lines(review: "PlanReview") -> list[str]:
    """Return lines that list the edits by hand."""
    if review.plan.generated is None:
        return ["written by hand: gp plan wrote nothing to compare it with"]
    if not review.plan.edited:
        return ["as gp plan wrote it"]
    edits = review.edits
    if edits is None:
        return [_UNKNOWN_EDITS]
    if not edits:
        return ["edited by hand: pins or remove_empty_layers, no group"]
    lines = ["edited by hand:"]
    for sublayer in edits[:SHOWN_SUBLAYERS]:
        at = f"  layer {sublayer.layer_idx} {sublayer.group_type}:"
        changes = {"now stays": sublayer.only_first, "now goes": sublayer.only_second}
        lines += [f"{at} {what} {shortened(one)}" for what, one in changes.items() if one]
    if len(edits) > SHOWN_SUBLAYERS:
        lines.append(f"  … and {len(edits) - SHOWN_SUBLAYERS} more sublayers (--json has all)")
    return lines


def _status_document(status: "BudgetStatus") -> dict[str, Any]:
    """How far one budget is met."""
    requirement = status.requirement
    return {
        "asked": requirement.budgets,
        "unit": requirement.unit,
        "before": requirement.in_units(requirement.before),
        "at_most": requirement.in_units(requirement.at_most),
        "after": requirement.in_units(status.after),
        "reached": status.is_met,
        "reachable": requirement.reachable(status.saved),
    }


def _effect_document(figures: "PlanFigures") -> dict[str, Any]:
    """What a plan removes and leaves."""
    effect = figures.effect
    return {
        "ratio": effect.ratio,
        "parameters_before": effect.parameters_before,
        "parameters_after": effect.parameters_after,
        "removed": effect.removed,
        **figures.resources.document,
        "removed_groups": effect.removed_groups,
        "dropped_layers": effect.dropped_layers,
    }


def _figures_document(figures: "PlanFigures", latency: float | None) -> dict[str, Any]:
    """What a plan removes and leaves, and by which importance."""
    return {
        **_effect_document(figures),
        "latency": latency,
        "importance": figures.importance.scoring.importance,
        "normaliser": figures.importance.scoring.normaliser,
        "importance_total": figures.importance.total,
        **_optimality_document(figures),
    }


def _optimality_document(figures: "PlanFigures") -> dict[str, float | None]:
    """What is lost, and the bound; sums of importance are no perplexity."""
    optimality = figures.optimality
    return {
        "importance_lost": optimality.lost if optimality else None,
        "importance_kept": optimality.kept if optimality else None,
        "importance_kept_at_most": optimality.bound if optimality else None,
        "gap": optimality.gap if optimality else None,
    }


def _edit_document(sublayer: "SublayerDifference") -> dict[str, Any]:
    """The edits of one sublayer."""
    return {
        "layer_idx": sublayer.layer_idx,
        "group_type": sublayer.group_type,
        "now_stays": str(sublayer.only_first),
        "now_goes": str(sublayer.only_second),
    }


def _removed_groups(review: "PlanReview", figures: "PlanFigures") -> list[dict[str, Any]]:
    """The groups that go, one entry for each sublayer."""
    from globalprune.artifacts.plans.plan_effect import removed_by

    return [
        {"layer_idx": layer, "group_type": kind, "group_idx": indices.tolist()}
        for layer, kind, indices in removed_by(review.plan, figures.structure)
    ]


def _description(figures: "PlanFigures") -> dict[str, Any]:
    """What was measured and how, without what is long."""
    long: Any = {"structure": True, "calibration": {"document_digests"}}
    record = figures.analysis.record
    description: dict[str, Any] = record.model_dump(mode="json", exclude=long)
    return description
