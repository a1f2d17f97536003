"""Several models judged alike: one after the other, by the same text, each with its own tokenizer.

All in one process, since a fresh one for each model would import torch each time; efficiency.py
says how memory stays comparable, speed.py how speed does. Nothing is printed here.
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Final

from globalprune.artifacts.evaluations.evaluation import (
    Comparison,
    EvaluationSettings,
    SpeedSettings,
    TaskSettings,
)
from globalprune.artifacts.records import tool_versions
from globalprune.artifacts.run_folder import RunFolder
from globalprune.errors import UsageError
from globalprune.evaluate.candidates import Candidate, find_candidate, masked_by
from globalprune.evaluate.doubts import warn_of_other_tokens, warn_of_speed
from globalprune.evaluate.hardware import this_machine
from globalprune.evaluate.measurement import Question, cut_windows, measure
from globalprune.evaluate.task_definitions import HARNESS, Tasks, read_tasks
from globalprune.evaluate.tasks import refuse_missing_template
from globalprune.evaluate.timing import time_models
from globalprune.models.loading import load_tokenizer
from globalprune.models.placement import choose_placement
from globalprune.progress import Progress, silent
from globalprune.text.source import BUILTIN, parse_source
from globalprune.text.windows import check_counts

DEFAULT_SPEED: Final = SpeedSettings()
_DECIDING: Final = ("globalprune", "torch", "transformers", "tokenizers", HARNESS)


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
    versions = tool_versions(*((HARNESS,) if tasks else ()))
    question = Question(
        data=data or BUILTIN,
        seq_len=seq_len,
        stride=stride,
        samples=samples,
        batch_size=batch_size,
        placement=placement,
        trust_remote_code=trust_remote_code,
        progress=progress,
        tasks=_read_tasks(tasks, candidates, progress),
        versions={name: version for name, version in versions.items() if name in _DECIDING},
    )
    windows = [cut_windows(candidate, question) for candidate in candidates]
    kept = RunFolder(parts)
    results = list(map(partial(measure, question=question, parts=kept), candidates, windows))
    warnings = warn_of_other_tokens(results)
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
        hardware=this_machine(placement.device),
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
    named = [find_candidate(name, reading=reading) for name in models]
    return [*named, *(masked_by(plan, named[0]) for plan in plans)]


def _read_tasks(
    tasks: TaskSettings | None, candidates: Sequence[Candidate], progress: Progress
) -> Tasks | None:
    """Read the tasks, and see that every model can be asked in that way."""
    if tasks is None:
        return None
    if tasks.apply_chat_template:
        for candidate in candidates:
            refuse_missing_template(candidate.source.name, load_tokenizer(candidate.source.path))
    return read_tasks(tasks, progress)
