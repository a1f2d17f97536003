"""What commands print about plans: written, reviewed, loadable."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from globalprune.cli import console
from globalprune.errors import BudgetError

if TYPE_CHECKING:
    from globalprune.artifacts.plans.budgets import BudgetStatus
    from globalprune.artifacts.plans.index_set import IndexSet
    from globalprune.planning.diff import SublayerDifference
    from globalprune.planning.planner import PlanResult
    from globalprune.planning.review import Known, Review
    from globalprune.planning.summary import Optimality
    from globalprune.planning.write import WrittenPlan


def plan_lines(written: "Sequence[WrittenPlan]") -> list[str]:
    """What every plan that was written removes, and what that costs."""
    from globalprune.planning.summary import importance_lines, removal_text

    lines = []
    for plan in written:
        if not plan.written:
            continue
        lines.append(f"{plan.path}: {removal_text(plan.planned.effect)}")
        scoring = plan.planned.scoring
        lines += [f"  {line}" for line in plan.planned.resources.lines]
        lines += [
            f"  leaves {met.need.text(met.after)}, of {met.need.text(met.need.before)}"
            for met in plan.planned.met
            if "latency" in met.need.asked
        ]
        lines += [
            f"  {line}" for line in importance_lines(plan.planned.plan, scoring, plan.optimality)
        ]
    return lines


def finish(
    written: "Sequence[WrittenPlan]", *, by_default: bool = False, go_on: str = "--largest"
) -> None:
    """Say what is doubtful; raise `BudgetError` where a plan is not what was asked for.

    Where the budget was nobody's wish but the default, that is a note. `go_on` is what a person
    says to have the largest plan all the same.
    """
    say_notes(written)
    raise_if_short(written, by_default=by_default, go_on=go_on)


def raise_if_short(
    written: "Sequence[WrittenPlan]", *, by_default: bool = False, go_on: str = "--largest"
) -> None:
    """Do the same, for who has said already what is doubtful."""
    complaints = [_complaint(plan, go_on) for plan in written if not plan.planned.reached]
    if complaints and by_default:
        for complaint in complaints:
            console.note(f"by the default ratio: {complaint}")
    elif complaints:
        raise BudgetError("\n".join(complaints))


def say_notes(written: "Sequence[WrittenPlan]") -> None:
    """Say what is doubtful about the plans that were written, each doubt once."""
    notes = (note for plan in written if plan.written for note in plan.planned.notes)
    for note in dict.fromkeys(notes):
        console.note(note)


def plan_document(written: "WrittenPlan") -> dict[str, Any]:
    """One plan's figures for a program; of a plan that was not written, what it would be."""
    planned = written.planned
    effect = planned.effect
    return {
        "path": str(written.path),
        "written": written.written,
        "asked": planned.plan.target.said() if planned.plan.target else {},
        "budgets": [
            {
                "asked": met.need.asked,
                "unit": met.need.unit,
                "before": met.need.in_units(met.need.before),
                "at_most": met.need.in_units(met.need.at_most),
                "after": met.need.in_units(met.after),
                "reached": met.reached,
                "reachable": planned.reachable_text(met),
            }
            for met in planned.met
        ],
        "ratio": effect.ratio,
        "parameters_before": effect.parameters_before,
        "parameters_after": effect.parameters_after,
        "removed": effect.removed,
        **planned.resources.document,
        "removed_groups": effect.removed_groups,
        "dropped_layers": effect.dropped_layers,
        "reached": planned.reached,
        "in_the_way": planned.in_the_way,
        "broken": planned.broken,
        **optimality_document(written.optimality),
        "notes": planned.notes,
    }


def shortfall(planned: "PlanResult") -> str:
    """What was asked beyond reach, and what can be had."""
    return " and ".join(_shortfall(planned, met) for met in planned.met if not met.reached)


def _shortfall(planned: "PlanResult", met: "BudgetStatus") -> str:
    """One budget: a ratio that is too much, or a remainder that is too little."""
    beyond = (
        f"more than {planned.limits_text} allow"
        if "ratio" in met.need.asked
        else f"less than {planned.limits_text} leave"
    )
    return (
        f"{planned.asked_text(met)} asks for {beyond}, which is {planned.reachable_text(met)} "
        f"({met.need.text(met.after)} left of {met.need.text(met.need.before)})"
    )


def _complaint(written: "WrittenPlan", go_on: str) -> str:
    """Say how far the plan falls short, why, and what became of it."""
    planned = written.planned
    broken = " ".join(planned.broken)
    older = f" ({written.path} is an older one)" if written.path.exists() else ""
    if all(met.reached for met in planned.met):
        done = (
            "it was written all the same."
            if written.written
            else (f"no plan was written{older}; say {go_on} to have the nearest one.")
        )
        return f"{written.path}: {broken} So {done}"
    beyond = "more" if any("ratio" in met.need.asked for met in planned.met) else "less"
    ways = [f"ask for no {beyond} than that"]
    if not planned.all_measured:
        ways.append("measure more layers")
    if planned.in_the_way:
        ways.append(f"do without {' or '.join(planned.in_the_way)}")
    if not written.written:
        ways.append(f"say {go_on} to have the largest plan")
    made = "the largest plan was written" if written.written else f"no plan was written{older}"
    stays = f"{planned.outside:,} parameters are in no measured group, so they stay"
    said = f"{written.path}: {shortfall(planned)}; {stays}; {made}. {_joined(ways)}."
    return f"{said} {broken}".rstrip()


def _joined(ways: list[str]) -> str:
    """Ways out as a sentence's beginning: `Ask for …, or do without …`."""
    *first, last = ways
    text = f"{', '.join(first)}, or {last}" if first else last
    return text[0].upper() + text[1:]


SHOWN_SUBLAYERS = 200  # more are for --json
_WIDTH = 32  # characters of indices


def shortened(ranges: "IndexSet") -> str:
    """The indices, cut short behind a comma where they are many, with their number."""
    text = str(ranges)
    if len(text) <= _WIDTH:
        return text
    head = text[: text.rindex(", ", 0, _WIDTH)]
    return f"{head}, … ({len(ranges):,} in all)"


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
    for sublayer in edits[:SHOWN_SUBLAYERS]:
        at = f"  layer {sublayer.layer_idx} {sublayer.group_type}:"
        lines += [f"{at} now stays {shortened(sublayer.only_first)}"] if sublayer.only_first else []
        lines += (
            [f"{at} now goes {shortened(sublayer.only_second)}"] if sublayer.only_second else []
        )
    if len(edits) > SHOWN_SUBLAYERS:
        lines.append(f"  … and {len(edits) - SHOWN_SUBLAYERS} more sublayers (--json has all)")
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


def _edit_list(edits: "tuple[SublayerDifference, ...]") -> list[dict[str, Any]]:
    """The edits, one entry per sublayer."""
    return [
        {
            "layer_idx": sublayer.layer_idx,
            "group_type": sublayer.group_type,
            "now_stays": str(sublayer.only_first),
            "now_goes": str(sublayer.only_second),
        }
        for sublayer in edits
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
    """The groups that go, one entry per sublayer."""
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
