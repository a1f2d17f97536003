"""Models side by side on the same windows, tasks and rounds of timing."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Final

import torch

from globalprune.artifacts.evaluations.evaluation import (
    Comparison,
    EvaluationSettings,
    ModelResult,
    SpeedSettings,
    TaskSettings,
)
from globalprune.artifacts.records import tool_versions
from globalprune.artifacts.run_folder import RunFolder
from globalprune.errors import UsageError
from globalprune.evaluation.candidates import Candidate, load_candidate, open_candidate, with_mask
from globalprune.evaluation.lm_eval_tasks import (
    LM_EVAL,
    LoadedTasks,
    load_tasks,
    refuse_missing_template,
)
from globalprune.evaluation.model import EvaluationProtocol, evaluate_model, read_evaluation_windows
from globalprune.evaluation.resources import describe_hardware
from globalprune.evaluation.speed import TimedModel, measure_speeds
from globalprune.models.loading import load_tokenizer
from globalprune.models.placement import choose_placement
from globalprune.progress import Progress, silent
from globalprune.text.source import BUILTIN, parse_source
from globalprune.text.windows import TokenWindows, check_counts


def warn_of_different_tokens(results: Sequence[ModelResult]) -> tuple[str, ...]:
    """Say so if the models' tokenizers cut the text differently."""
    if len({result.perplexity.windows for result in results}) == 1:
        return ()
    message = (
        "the models' tokenizers cut the text into different tokens, so their perplexities are "
        "not comparable."
    )
    return (message,)


def warn_of_speed(results: Sequence[ModelResult], speed: SpeedSettings) -> tuple[str, ...]:
    """Say so if memory didn't hold the models together, or if one has no cache to decode with."""
    found = []
    if not speed.interleaved:
        found.append(
            "memory doesn't hold these models together, so each was timed alone, and no "
            "differences of speed are shown; name fewer models, or a smaller --dtype."
        )
    without = [result.source for result in results if result.speed is None]
    if without:
        found.append(f"{', '.join(without)}: keeps no KV cache, so its speed is not measured.")
    return tuple(found)


_BYTES: Final = {"float32": 4, "bfloat16": 2, "float16": 2}


def time_models(
    results: Sequence[ModelResult],
    candidates: Sequence[Candidate],
    windows: Sequence[TokenWindows],
    question: EvaluationProtocol,
    settings: SpeedSettings,
) -> tuple[list[ModelResult], SpeedSettings]:
    """Give the results their speeds, and the settings as they could be kept."""
    timed = [
        index
        for index, result in enumerate(results)
        if result.kv_cache_bytes_per_token is not None and candidates[index].mask is None
    ]
    if not timed:
        return list(results), settings
    subjects = [
        TimedModel(
            load=partial(
                load_candidate,
                candidates[index],
                question.placement,
                trust_remote_code=question.trust_remote_code,
            ),
            weight_bytes=results[index].parameters * _BYTES.get(results[index].dtype, 4),
            prompt=torch.cat(windows[index].rows),
        )
        for index in timed
    ]
    speeds, done = measure_speeds(subjects, settings, question.placement.device, question.progress)
    both = dict(zip(timed, speeds, strict=True))
    return [
        result.model_copy(update={"speed": both.get(index)}) for index, result in enumerate(results)
    ], done


DEFAULT_SPEED: Final = SpeedSettings()
_KEYED_TOOLS: Final = ("globalprune", "torch", "transformers", "tokenizers", LM_EVAL)


def evaluate_models(
    models: Sequence[str],
    data: str | None = None,
    *,
    plans: Sequence[Path] = (),
    seq_len: int | None = None,
    stride: int | None = None,
    samples: int | None = None,
    batch_size: int = 1,
    device: str | None = None,
    dtype: str | None = None,
    trust_remote_code: bool = False,
    tasks: TaskSettings | None = None,
    speed: SpeedSettings | None = DEFAULT_SPEED,
    parts: Path | None = None,
    command: Sequence[str] = (),
    progress: Progress = silent,
) -> Comparison:
    """Measure size, memory, perplexity, tasks and speed of each model.

    `data` None is the builtin text that calibration never sees, `device` None the first GPU if
    there is one, `dtype` None float32 on a CPU and the checkpoint's elsewhere. What can be refused
    is refused before a model is loaded. Each of `plans` is put on the first model as a mask: judged
    as if it had been applied, but for speed and files. `parts` is a folder that keeps each model's
    finished figures, but for its speed, and that a later run takes them from.
    """
    check_counts(samples=samples, seq_len=seq_len, stride=stride, batch_size=batch_size)
    placement = choose_placement(device, dtype)
    parse_source(data or BUILTIN)
    candidates = _find_all(models, plans, None if parts is None else progress)
    versions = tool_versions(*((LM_EVAL,) if tasks else ()))
    question = EvaluationProtocol(
        data=data or BUILTIN,
        seq_len=seq_len,
        stride=stride,
        samples=samples,
        batch_size=batch_size,
        placement=placement,
        trust_remote_code=trust_remote_code,
        progress=progress,
        tasks=_read_tasks(tasks, candidates, progress),
        versions={name: version for name, version in versions.items() if name in _KEYED_TOOLS},
    )
    windows = [read_evaluation_windows(candidate, question) for candidate in candidates]
    kept = RunFolder(parts)
    results = list(map(partial(evaluate_model, question=question, parts=kept), candidates, windows))
    warnings = warn_of_different_tokens(results)
    if speed:
        results, speed = time_models(results, candidates, windows, question, speed)
        warnings += warn_of_speed(results, speed)
    return Comparison(
        models=tuple(results),
        text=windows[0].record,
        settings=EvaluationSettings(
            seq_len=seq_len,
            stride=stride,
            samples=samples,
            batch_size=batch_size,
            dtype=dtype,
            tasks=tasks,
            speed=speed,
        ),
        device=placement.device,
        hardware=describe_hardware(placement.device),
        versions=versions,
        command=tuple(command),
        warnings=warnings,
    )


def _find_all(
    models: Sequence[str], plans: Sequence[Path], reading: Progress | None
) -> list[Candidate]:
    """Find every model and read every plan before the hours of the first.

    Where figures are kept, `reading` is told of the files that say which model they are of.
    """
    if not models:
        raise UsageError("no model to evaluate; name at least one.")
    named = [open_candidate(name, reading=reading) for name in models]
    return [*named, *(with_mask(plan, named[0]) for plan in plans)]


def _read_tasks(
    tasks: TaskSettings | None, candidates: Sequence[Candidate], progress: Progress
) -> LoadedTasks | None:
    """Read the tasks, and see that every model can be asked in that way."""
    if tasks is None:
        return None
    if tasks.apply_chat_template:
        for candidate in candidates:
            refuse_missing_template(candidate.source.name, load_tokenizer(candidate.source.path))
    return load_tasks(tasks, progress)
