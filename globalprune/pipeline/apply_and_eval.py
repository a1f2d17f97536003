"""`gp apply --eval`: judge a model, cut it, and judge what is left by the same text.

The text is read and the base model judged before anything is written, so that text that can't be
used leaves no folder behind.
"""

import json
from pathlib import Path
from typing import TYPE_CHECKING

from globalprune.progress import Progress, silent

if TYPE_CHECKING:
    from globalprune.apply.metrics_record import ApplyResult
    from globalprune.evaluate.comparison import Comparison


def apply_and_evaluate(
    model: str,
    plan_path: Path,
    out: Path,
    data: str,
    *,
    analysis: Path | None = None,
    overwrite: bool = False,
    command: str = "",
    progress: Progress = silent,
) -> tuple["ApplyResult", "Comparison"]:
    """Apply the plan; give the result and both models side by side, as metrics.json keeps them."""
    from globalprune.apply.executor import apply_plan, check_apply
    from globalprune.apply.metrics_record import add_evaluation
    from globalprune.apply.record_folder import METRICS
    from globalprune.artifacts.provenance import OWN_FOLDER
    from globalprune.evaluate.comparison import evaluate_models

    check_apply(model, plan_path, out, analysis=analysis, overwrite=overwrite)
    before = evaluate_models([model], data, progress=progress)
    result = apply_plan(
        model,
        plan_path,
        out,
        analysis=analysis,
        overwrite=overwrite,
        command=command,
        progress=progress,
    )
    after = evaluate_models([result.out], data, progress=progress)
    both = before.model_copy(update={"models": (*before.models, *after.models)})
    evaluation = json.loads(both.model_dump_json())
    add_evaluation(Path(result.out) / OWN_FOLDER / METRICS, evaluation)
    return result.model_copy(update={"evaluation": evaluation}), both
