"""The public functions: every phase of pruning in one call each. Start reading here.

`analyze` measures a model and `plan` turns the measurement into a plan; `apply` cuts the model by
it, `finetune` trains the result and `evaluate` compares models. `prune` runs them in a row, the
last two on request. The commands of these names are thin over them; `gp sweep`, `report`, `export`
and `measure` have no function here. A model is a local folder, a .gguf file or a Hub id; results
are folders on disk. Nothing heavy loads before a function is called.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from globalprune.options import (
    AnalyzeOptions,
    ApplyOptions,
    EvaluateOptions,
    FinetuneOptions,
    PlanOptions,
    PruneOptions,
)
from globalprune.progress import SILENT, Reporter

if TYPE_CHECKING:
    from globalprune.artifacts.analyses.analysis import Analysis
    from globalprune.artifacts.evaluations.evaluation import Comparison
    from globalprune.artifacts.results.finetuning import FinetuneRun
    from globalprune.models.prepared_model import PreparedModel
    from globalprune.pipeline.analyze import AnalyzeResult
    from globalprune.pipeline.apply import PruneResult
    from globalprune.planning.planner import PlanResult


def analyze(
    model: "str | Path | PreparedModel",
    out: str | Path,
    options: AnalyzeOptions = AnalyzeOptions(),
    *,
    reporter: Reporter = SILENT,
) -> "AnalyzeResult":
    """Measure what every group of a model is worth, and write the analysis and its first plan.

    The first plan is tried on text that nothing was measured with, beside other cuts of its size;
    `AnalyzeResult.analysis.record.doubt` says if it does clearly worse.

    Args:
        model: a local folder, a .gguf file, or a Hub id with an optional @revision.
        out: the folder for groups.parquet, analysis.json and plan.yaml.
        options: text, importances, layers, and the ratio of the first plan.
        reporter: where progress and warnings go.

    Returns:
        The analysis, and the plan; a plan whose ratio can't be reached is not written unless
        `options.largest`.

    Raises:
        UsageError: options contradict each other, or `out` is in the way.
        TextError: the text is missing or too short.
        ModelError: the model can't be read or cut, or its numbers are not finite.

    Example:
        >>> result = analyze("smol", "analysis", AnalyzeOptions(data="wiki.txt", samples=64))
    """
    from globalprune.pipeline.analyze import analyze_and_plan

    return analyze_and_plan(_prepared(model), _path(out), options, reporter=reporter)


def plan(
    analysis: "Analysis | str | Path",
    options: PlanOptions,
    out: str | Path | None = None,
) -> "tuple[PlanResult, ...]":
    """Turn an analysis into plans: of all cuts that keep the budgets, those that lose least.

    Args:
        analysis: an analysis, or the folder that it lies in.
        options: ratios, budgets, constraints, and the importance to plan by.
        out: a .yaml file for one plan, or a folder for several; None writes them beside the
            analysis, and one plan as plan.yaml.

    Returns:
        One plan for each ratio. A plan that doesn't reach its budget is not written unless
        `options.largest`.

    Raises:
        UsageError: the options name no target, or a plan that was edited by hand is in the way.
        ArtifactError: the analysis can't be read, or pins can't be honoured.

    Example:
        >>> (written,) = plan("analysis", PlanOptions(ratios=(0.2,)))
    """
    from globalprune.artifacts.analyses.analysis import read_analysis
    from globalprune.planning.write import write_plans

    found = read_analysis(Path(analysis)) if isinstance(analysis, str | Path) else analysis
    return write_plans(found, options, None if out is None else Path(out))


def apply(
    model: "str | Path | PreparedModel",
    plan: str | Path,
    out: str | Path,
    options: ApplyOptions = ApplyOptions(),
    *,
    reporter: Reporter = SILENT,
) -> "PruneResult":
    """Cut a model by a plan, and write what is left as a model that loads like any other.

    Memory holds one shard, not the model, unless the options ask for compensation, finetuning or
    evaluation. Weights, records and model card appear together or not at all.

    Args:
        model: as for `analyze`; it is only read.
        plan: a .yaml file.
        out: the folder for the smaller model.
        options: compensation, the phases after the cut, and the dtype of the result.
        reporter: where progress and warnings go.

    Returns:
        The figures of the cut, and of finetuning and evaluation where they were asked for.

    Raises:
        PlanInvalid: the plan breaks a rule; all of its problems are named.
        PlanStale: the plan is of another model structure.
        UsageError: options contradict each other, or `out` is in the way.
        VerificationFailed: the result isn't what the plan promises; nothing is kept.

    Example:
        >>> apply("smol", "analysis/plan.yaml", "smaller").cut.parameters_after
    """
    from globalprune.pipeline.apply import apply_plan

    return apply_plan(_prepared(model), Path(plan), _path(out), options, reporter=reporter)


def evaluate(
    models: "Sequence[str | Path | PreparedModel]",
    options: EvaluateOptions = EvaluateOptions(),
    out: str | Path | None = None,
    *,
    reporter: Reporter = SILENT,
) -> "Comparison":
    """Compare models on the same text, tasks and rounds of timing; the first is the baseline.

    Args:
        models: as for `analyze`, of any family that transformers knows.
        options: text, tasks, speed, and plans that are put on the first model as masks.
        out: a folder for evaluation.json, .csv and .md, and for the figures of each model as soon
            as they are known: the same call goes on where it was interrupted.
        reporter: where progress goes.

    Returns:
        Size, memory, perplexity, tasks and speed of every model.

    Raises:
        UsageError: no model is named, or `out` is in the way.
        TextError: the text is missing or too short.
        ModelError: a model can't be read, or its loss is not finite.

    Example:
        >>> evaluate(["smol", "smaller"], EvaluateOptions(data="test.txt", speed=None))
    """
    from globalprune.evaluation.comparison import evaluate_and_write

    prepared = [_prepared(model) for model in models]
    place = None if out is None else _path(out)
    return evaluate_and_write(prepared, options, place, reporter=reporter)


def finetune(
    model: "str | Path | PreparedModel",
    out: str | Path,
    options: FinetuneOptions = FinetuneOptions(),
    *,
    reporter: Reporter = SILENT,
) -> "FinetuneRun | None":
    """Finetune a model, cut or not, with LoRA adapters or all weights, and with a teacher or not.

    Args:
        model: a folder or Hub id, of any family that transformers knows; it is only read.
        out: the folder for the finetuned model, or for its adapter alone.
        options: settings, text and teacher.
        reporter: where progress and warnings go.

    Returns:
        The record of the run; None in every process of a launcher but the first.

    Raises:
        UsageError: options contradict each other, or `out` is in the way.
        TextError: the text is missing or too short.
        NonFiniteError: the loss is no finite number; a smaller learning rate helps.

    Example:
        >>> finetune("smaller", "finetuned", FinetuneOptions(data=("wiki.txt",)))
    """
    from globalprune.finetuning.finetuner import finetune_model

    return finetune_model(_prepared(model), _path(out), options, reporter=reporter)


def prune(
    model: "str | Path | PreparedModel",
    out: str | Path,
    options: PruneOptions,
    *,
    on_plan: "Callable[[PlanResult], None] | None" = None,
    reporter: Reporter = SILENT,
) -> "PruneResult":
    """Analyze, plan and cut a model, and compensate, finetune and evaluate it as the options ask.

    Args:
        model: as for `analyze`; it is only read.
        out: the folder for the smaller model, with every record of the phases in it.
        options: the ratio, the text, and a preset with what is set beside it.
        on_plan: is called with the plan before the cut, and may raise to stop there.
        reporter: where progress and warnings go.

    Returns:
        The figures of the cut, and of finetuning and evaluation where they were asked for.

    Raises:
        BudgetError: the ratio can't be reached; the analysis stays in OUT.unfinished.
        AnalysisDoubted: the plan does clearly worse than other cuts of its size; nothing is cut.
        UsageError, TextError, ModelError: as `analyze` and `apply` do.

    Example:
        >>> prune("smol", "smaller", PruneOptions(ratio=0.2, preset="best", data="wiki.txt"))
    """
    from globalprune.pipeline.prune import prune_model, refuse_unwritten

    return prune_model(
        _prepared(model),
        _path(out),
        options,
        on_plan=on_plan or refuse_unwritten,
        reporter=reporter,
    )


def _prepared(model: "str | Path | PreparedModel") -> "PreparedModel":
    """Prepare a model, unless it is prepared already."""
    from globalprune.models.prepared_model import PreparedModel

    return model if isinstance(model, PreparedModel) else PreparedModel(model)


def _path(out: str | Path) -> Path:
    """Return a place to write, with `~` replaced by the home folder."""
    return Path(out).expanduser()
