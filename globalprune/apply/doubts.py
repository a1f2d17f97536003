"""What a person should know before a plan is applied, from the plan, its analysis and the text."""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from globalprune.apply.preparation import Prepared
from globalprune.artifacts.analyses.analysis import TextRecord, read_analysis_record
from globalprune.artifacts.plans.plan_effect import PlanEffect
from globalprune.artifacts.plans.plan_summary import plan_doubt

_ENOUGH: Final = 2  # tokens for each channel that stays of the widest MLP that is solved


def doubts_of(prepared: Prepared, record: Path | None, text: TextRecord | None) -> tuple[str, ...]:
    """All that is doubtful about a plan, its analysis and the text to compensate with."""
    short = () if text is None else _short(text, prepared.effect)
    analysis = None if record is None else read_analysis_record(record)
    tried = filter(None, [plan_doubt(prepared.plan, analysis)])
    return (*tried, *prepared.warnings, *_unknown_text(prepared, record), *short)


def _unknown_text(prepared: Prepared, record: Path | None) -> Iterator[str]:
    """Warn where the plan's analysis is gone, and with it what text the model was measured on."""
    reference = prepared.plan.analysis
    if record is None and reference is not None:
        yield (
            f"the analysis that the plan names ({reference.path}, from where the plan lies) was "
            "not found, so gp eval can't warn of text that calibration saw; name it with "
            "--analysis."
        )


def _short(text: TextRecord, effect: PlanEffect) -> Iterator[str]:
    """Yield a warning where what is solved has hardly more unknowns than the text has tokens."""
    inputs = max(len(layer.mlp) for layer in effect.layers)
    if text.tokens <= _ENOUGH * inputs:
        yield (
            f"{text.tokens:,} tokens of text are few to solve {inputs:,} channels of an MLP anew, "
            f"so the repair may fit this text alone; give it more than {_ENOUGH * inputs:,} "
            "(--samples, --seq-len)."
        )
