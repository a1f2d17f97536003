"""Models side by side on the same windows, tasks and rounds of timing."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Final

import torch

from globalprune.artifacts.disk import refuse_inside_model, refuse_occupied
from globalprune.artifacts.evaluations.evaluation import (
    Comparison,
    ModelResult,
    SpeedSettings,
    TaskSettings,
)
from globalprune.artifacts.evaluations.evaluation_table import EVALUATION_FILE, write_evaluation
from globalprune.artifacts.plans.plan_file import PlanFile, read_plan_file
from globalprune.artifacts.records import tool_versions
from globalprune.artifacts.run_folder import RunFolder
from globalprune.artifacts.writer_lock import refuse_distributed, writer_lock
from globalprune.errors import UsageError
from globalprune.evaluation.candidates import Candidate, load_candidate, open_candidate, with_mask
from globalprune.evaluation.lm_eval_tasks import (
    LM_EVAL,
    LoadedTasks,
    load_tasks,
    refuse_missing_template,
)
from globalprune.evaluation.perplexity import CACHE_FOLDER, EvaluationProtocol, evaluate_model
from globalprune.evaluation.resources import describe_hardware
from globalprune.evaluation.speed import TimedModel, measure_speeds
from globalprune.evaluation.windows import EvaluationText
from globalprune.models.placement import choose_placement
from globalprune.models.prepared_model import PreparedModel
from globalprune.options import EvaluateOptions
from globalprune.progress import SILENT, Progress, Reporter
from globalprune.text.source import parse_source
from globalprune.text.windows import TokenWindows, check_counts

_KEYED_TOOLS: Final = ("globalprune", "torch", "transformers", "tokenizers", LM_EVAL)
_BYTES: Final = {"float32": 4, "bfloat16": 2, "float16": 2}  # of a weight


def evaluate_and_write(
    models: Sequence[PreparedModel],
    options: EvaluateOptions,
    out: Path | None,
    *,
    reporter: Reporter = SILENT,
) -> Comparison:
    """Compare models, and write the comparison into the folder `out` unless it is None.

    `out` also keeps the results of each model as soon as they are known, and a later call with the
    same options takes them from there. Raise `UsageError` for a folder that isn't an evaluation's,
    and what `evaluate_models` raises.
    """
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


def evaluate_models(
    models: Sequence[PreparedModel],
    options: EvaluateOptions = EvaluateOptions(),
    *,
    plans: Sequence[PlanFile] | None = None,
    text: EvaluationText | None = None,
    cache: Path | None = None,
    reporter: Reporter = SILENT,
) -> Comparison:
    """Measure size, memory, perplexity, tasks and speed of each model.

    Each plan is applied to the first model as a mask, which is evaluated like a model, except for
    its speed and files; `plans` are those of the options if they were read already. `text` holds
    windows that were cut already. A `cache` folder keeps the results of each model but its speed,
    and a later run with the same options takes them from there. Options, models and plans are
    checked before a model is loaded: raise `UsageError`, `ModelError`, `ArtifactError` or
    `TextError`.
    """
    check_counts(
        samples=options.samples,
        seq_len=options.seq_len,
        stride=options.stride,
        batch_size=options.batch_size,
    )
    placement = choose_placement(options.device, options.dtype)
    parse_source(options.data)
    identifying = None if cache is None else reporter.progress
    candidates = _open_candidates(models, options, plans, identifying)
    versions = tool_versions(*((LM_EVAL,) if options.tasks else ()))
    protocol = EvaluationProtocol(
        options=options,
        placement=placement,
        tasks=_load_tasks(options.tasks, candidates, reporter.progress),
        versions={name: version for name, version in versions.items() if name in _KEYED_TOOLS},
        progress=reporter.progress,
    )
    text = EvaluationText(options, reporter.progress) if text is None else text
    windows = [text.windows_for(candidate.model) for candidate in candidates]
    evaluate = partial(evaluate_model, protocol=protocol, cache=RunFolder(cache))
    results = list(map(evaluate, candidates, windows))
    warnings = warn_of_different_tokens(results)
    speed = options.speed
    if speed:
        results, speed = time_models(results, candidates, windows, protocol, speed)
        warnings += warn_of_speed(results, speed)
    return Comparison(
        models=tuple(results),
        text=windows[0].record,
        settings=options.record(speed),
        device=placement.device,
        hardware=describe_hardware(placement.device),
        versions=versions,
        command=reporter.command,
        warnings=warnings,
    )


def time_models(
    results: Sequence[ModelResult],
    candidates: Sequence[Candidate],
    windows: Sequence[TokenWindows],
    protocol: EvaluationProtocol,
    settings: SpeedSettings,
) -> tuple[list[ModelResult], SpeedSettings]:
    """Return the results with their speeds, and the settings that could be followed.

    Models without a KV cache and plans that are applied as masks are not timed.
    """
    timed = [
        index
        for index, result in enumerate(results)
        if result.kv_cache_bytes_per_token is not None and candidates[index].mask is None
    ]
    if not timed:
        return list(results), settings
    models = [
        TimedModel(
            load=partial(
                load_candidate,
                candidates[index],
                protocol.placement,
                trust_remote_code=protocol.options.trust_remote_code,
            ),
            weight_bytes=results[index].parameters * _BYTES.get(results[index].dtype, 4),
            prompt=torch.cat(windows[index].rows),
        )
        for index in timed
    ]
    speeds, followed = measure_speeds(
        models, settings, protocol.placement.device, protocol.progress
    )
    by_index = dict(zip(timed, speeds, strict=True))
    return [
        result.model_copy(update={"speed": by_index.get(index)})
        for index, result in enumerate(results)
    ], followed


def warn_of_different_tokens(results: Sequence[ModelResult]) -> tuple[str, ...]:
    """Warn if the models' tokenizers cut the text into different tokens."""
    if len({result.perplexity.windows for result in results}) == 1:
        return ()
    message = (
        "the models' tokenizers cut the text into different tokens, so their perplexities are "
        "not comparable."
    )
    return (message,)


def warn_of_speed(results: Sequence[ModelResult], speed: SpeedSettings) -> tuple[str, ...]:
    """Warn if the models didn't fit into memory together, or if one has no cache to decode with."""
    warnings = []
    if not speed.interleaved:
        warnings.append(
            "memory doesn't hold these models together, so each was timed alone, and no "
            "differences of speed are shown; name fewer models, or a smaller --dtype."
        )
    without = [result.source for result in results if result.speed is None]
    if without:
        warnings.append(f"{', '.join(without)}: keeps no KV cache, so its speed is not measured.")
    return tuple(warnings)


def _open_candidates(
    models: Sequence[PreparedModel],
    options: EvaluateOptions,
    plans: Sequence[PlanFile] | None,
    identifying: Progress | None,
) -> list[Candidate]:
    """Open every model and read every plan, before any model is loaded."""
    if not models:
        raise UsageError("no model to evaluate; name at least one.")
    opened = [open_candidate(model, identifying=identifying) for model in models]
    if plans is None:
        plans = [read_plan_file(path, models[0].structure) for path in options.plans]
    return [*opened, *(with_mask(plan, opened[0]) for plan in plans)]


def _load_tasks(
    tasks: TaskSettings | None, candidates: Sequence[Candidate], progress: Progress
) -> LoadedTasks | None:
    """Load the tasks, and check that every model has the chat template that they need."""
    if tasks is None:
        return None
    if tasks.apply_chat_template:
        for candidate in candidates:
            refuse_missing_template(candidate.model.name, candidate.model.tokenizer)
    return load_tasks(tasks, progress)
