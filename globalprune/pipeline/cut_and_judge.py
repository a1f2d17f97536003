"""`gp apply`, with the model judged before and behind the cut if text is named.

The text is read and the model judged before anything is written, so that text that can't be used
leaves nothing behind.
"""

from pathlib import Path

from globalprune.pipeline.cut_and_recover import Outcome
from globalprune.pipeline.cutting import Cutting
from globalprune.pipeline.judging import judged, keep_evaluation
from globalprune.pipeline.refusals import refuse_early


def cut_and_judge(cutting: Cutting, plan: Path, *, evaluate: str | None = None) -> Outcome:
    """Apply the plan into OUT, and put both models side by side as asked."""
    from globalprune.surgery.executor import apply_plan

    said = refuse_early(cutting, plan, None, evaluate)
    before = None if evaluate is None else judged({cutting.model: cutting.model}, evaluate, cutting)
    result = apply_plan(
        cutting.model,
        plan,
        cutting.out,
        analysis=cutting.analysis,
        overwrite=cutting.overwrite,
        save_dtype=cutting.save_dtype,
        command=cutting.command,
        progress=cutting.progress,
    )
    if before is None or evaluate is None:
        return Outcome(result, said=said)
    after = judged({result.out: result.out}, evaluate, cutting)
    both = before.model_copy(
        update={
            "models": (*before.models, *after.models),
            "warnings": tuple(dict.fromkeys((*before.warnings, *after.warnings))),
        }
    )
    out = cutting.out
    keep_evaluation(out, both, (), name=out.resolve().name)
    return Outcome(result, evaluation=both, said=said)
