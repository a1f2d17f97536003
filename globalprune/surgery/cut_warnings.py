"""Warnings about a cut: its plan, the plan's analysis, and the text of compensation.

None of them stops the cut.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

from globalprune.artifacts.analyses.analysis import read_analysis_record
from globalprune.artifacts.plans.plan import PrunePlan
from globalprune.artifacts.plans.plan_effect import PlanEffect
from globalprune.artifacts.plans.plan_summary import plan_warning
from globalprune.artifacts.records import TextRecord

if TYPE_CHECKING:
    from globalprune.surgery.prepare import PreparedCut

_TOKENS_PER_CHANNEL: Final = 2  # of the widest MLP after the cut: fewer tokens are warned of


def cut_warnings(prepared: "PreparedCut", text: TextRecord | None) -> tuple[str, ...]:
    """Every warning about a cut; `text` is what it is compensated on, if it is."""
    path = prepared.analysis
    analysis = None if path is None else read_analysis_record(path)
    return (
        *filter(None, [plan_warning(prepared.plan, analysis)]),
        *prepared.warnings,
        *_missing_analysis(prepared.plan, path),
        *(() if text is None else _short_text(text, prepared.effect)),
    )


def compensation_advice(plan: PrunePlan, *, compensating: bool) -> str | None:
    """Advise compensation, where a plan neither assumes it nor gets it."""
    assumed = plan.analysis is not None and plan.analysis.assumes == "compensation"
    if compensating or assumed or not plan.layers:
        return None
    return (
        "the weights that stay are not compensated: --compensate --data SRC recomputes them on "
        "text, without training, and mostly wins back a good part of what the cut costs."
    )


def assumption_warnings(plan: PrunePlan, *, compensating: bool) -> Iterator[str]:
    """Yield a warning for every assumption of the plan's importance that does not hold."""
    reference = plan.analysis
    if reference is None or reference.assumes is None:
        return
    if not compensating:
        yield (
            f"was made by {reference.importance}, which counts what is lost behind compensation, "
            "and none is asked for; gp apply it with --compensate --data SRC, or plan by another "
            "importance."
        )
    if plan.edited:
        yield (
            f"was edited, and {reference.importance} counts what is lost along its own order; its "
            "figures no longer hold for the groups that were exchanged."
        )


def relative_warning(plan: PrunePlan, plan_path: Path, model: str, weights: str) -> str | None:
    """Warn where a plan is applied to a relative of the model that it was made for.

    `weights` is the fingerprint of `model`.
    """
    made_for = plan.model
    if made_for is None or made_for.weights is None or made_for.weights == weights:
        return None
    return (
        f"{plan_path}: was made for {made_for.source} (weights {made_for.weights}); "
        f"{model} has the same structure but other weights ({weights}). "
        "The plan is applied as it stands."
    )


def _missing_analysis(plan: PrunePlan, found: Path | None) -> Iterator[str]:
    """Warn where the plan's analysis is gone, and with it the record of the calibration text."""
    if found is None and plan.analysis is not None:
        yield (
            f"the analysis that the plan names ({plan.analysis.path}, from where the plan lies) "
            "was not found, so gp eval can't warn of text that calibration saw; name it with "
            "--analysis."
        )


def _short_text(text: TextRecord, effect: PlanEffect) -> Iterator[str]:
    """Warn where compensation has hardly more tokens than unknowns."""
    inputs = max(len(layer.mlp) for layer in effect.layers)
    if text.tokens <= _TOKENS_PER_CHANNEL * inputs:
        yield (
            f"{text.tokens:,} tokens of text are few to compensate {inputs:,} channels of an MLP "
            "with, so the weights may fit this text alone; give more than "
            f"{_TOKENS_PER_CHANNEL * inputs:,} (--samples, --seq-len)."
        )
