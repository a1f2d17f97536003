"""gp eval: compares models, and writes the figures."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from globalprune.artifacts.disk import refuse_inside_model, refuse_occupied
from globalprune.artifacts.evaluations.evaluation_table import EVALUATION_FILE, write_evaluation
from globalprune.artifacts.writer_lock import refuse_distributed, writer_lock
from globalprune.options import EvaluateOptions
from globalprune.progress import SILENT, Reporter

if TYPE_CHECKING:
    from globalprune.artifacts.evaluations.evaluation import Comparison
    from globalprune.models.prepared_model import PreparedModel


def evaluate_into(
    models: "Sequence[PreparedModel]",
    options: EvaluateOptions,
    out: Path | None,
    *,
    reporter: Reporter = SILENT,
) -> "Comparison":
    """Compare models, and write the comparison into `out` if that is named.

    `out` also keeps each model's figures as soon as they are known; they are taken from there if
    an evaluation of ours lies there. Raise `UsageError` for a folder that isn't ours.
    """
    from globalprune.evaluation.comparison import evaluate_models
    from globalprune.evaluation.model import CACHE_FOLDER

    refuse_distributed()
    if out is None:
        return evaluate_models(models, options, reporter=reporter)
    with writer_lock(out):
        refuse_occupied(out, ours=(EVALUATION_FILE, CACHE_FOLDER), overwrite=True)
        for model in models:
            refuse_inside_model(out, Path(model.name).expanduser())
        comparison = evaluate_models(models, options, cache=out / CACHE_FOLDER, reporter=reporter)
        write_evaluation(out, comparison)
    return comparison
