"""One model evaluated: perplexity, tasks and resources. Results are cached part by part."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Final, Literal

import torch
from transformers import PreTrainedModel

from globalprune.artifacts.analyses.analysis import ANALYSIS_FILE, read_analysis_record
from globalprune.artifacts.evaluations.evaluation import (
    ModelResult,
    PerplexityResult,
    TaskResult,
    perplexity_of,
)
from globalprune.artifacts.records import RECORDS_FOLDER, Record, TextRecord
from globalprune.artifacts.results.cut import COMPENSATION_FILE, read_compensation
from globalprune.artifacts.results.finetuning import FINETUNE_FILE, read_finetune_record
from globalprune.artifacts.run_folder import RunFolder
from globalprune.errors import NonFiniteError, RecordInvalid
from globalprune.evaluation.candidates import Candidate, load_candidate
from globalprune.evaluation.lm_eval_tasks import LoadedTasks, answer_tasks
from globalprune.evaluation.resources import (
    MemoryMeter,
    cache_bytes_per_token,
    count_parameters,
    source_weight_bytes,
)
from globalprune.models.checkpoints.gguf_header import quantisation_warnings
from globalprune.models.placement import Placement
from globalprune.models.tokenizer import load_tokenizer
from globalprune.options import EvaluateOptions
from globalprune.progress import Progress, silent
from globalprune.statistics.loss import window_losses
from globalprune.text.windows import TokenWindows, batches

CACHE_FOLDER: Final = "parts"
_KV_CACHE_TOKENS: Final = 64  # enough to count the bytes of a token
_Cached = Literal["text", "tasks"]
_TEXT: Final[_Cached] = "text"
_TASKS: Final[_Cached] = "tasks"


@dataclass(frozen=True)
class EvaluationProtocol:
    """What all models of a comparison are evaluated by."""

    options: EvaluateOptions
    placement: Placement
    tasks: LoadedTasks | None
    versions: dict[str, str]  # of the tools that can change a result
    progress: Progress


class CachedTextResult(Record):
    """A model's size, memory and perplexity."""

    source: str
    parameters: int
    file_bytes: int | None  # None: nothing was written
    kv_cache_bytes_per_token: int | None
    peak_memory_bytes: int | None
    dtype: str
    perplexity: PerplexityResult


class CachedTaskResults(Record):
    """A model's results in tasks."""

    source: str
    tasks: dict[str, TaskResult]


def evaluate_model(
    candidate: Candidate, windows: TokenWindows, protocol: EvaluationProtocol, cache: RunFolder
) -> ModelResult:
    """Evaluate one model and free it; results that are in the cache are not measured again."""
    if candidate.identity is None:  # a result without an identity could be of any model
        cache = RunFolder(None)
    tasks = protocol.tasks
    of_text = cache.with_key(_key(candidate, protocol, windows=windows.record.digest))
    of_tasks = cache.with_key(_key(candidate, protocol, tasks=tasks.key if tasks else None))
    text = of_text.load_record(_TEXT, CachedTextResult)
    answers = of_tasks.load_record(_TASKS, CachedTaskResults) if tasks else None
    cached: dict[_Cached, object] = {_TEXT: text, _TASKS: answers}
    if text is None or (tasks and answers is None):
        meter = MemoryMeter(protocol.placement.device)
        model = load_candidate(
            candidate,
            protocol.placement,
            trust_remote_code=protocol.options.trust_remote_code,
        )
        if text is None:
            judged = perplexity(
                model,
                windows,
                protocol.options.batch_size,
                protocol.progress,
                name=candidate.name,
            )
            if candidate.identity is not None:
                candidate.model.refuse_changed()
            text = _text_result(model, judged, meter, candidate, windows)
            of_text.save_record(_TEXT, text)
        if tasks and answers is None:
            answers = _task_results(model, tasks, candidate, protocol)
            of_tasks.save_record(_TASKS, answers)
    return ModelResult(
        source=candidate.name,
        weights=candidate.model.weights(),
        **text.model_dump(exclude={"source"}),
        tasks=answers.tasks if answers else {},
        from_earlier_run=tuple(name for name, result in cached.items() if result is not None),
        warnings=_warnings(candidate, windows),
    )


def perplexity(
    model: PreTrainedModel,
    windows: TokenWindows,
    batch_size: int = 1,
    progress: Progress = silent,
    *,
    name: str = "the model",
) -> PerplexityResult:
    """Measure a model's perplexity; raise `NonFiniteError` with its `name` for a loss not finite.

    The batch size changes time and memory, and the result by no more than rounding.
    """
    work = list(batches(windows, batch_size))
    was_training = model.training
    model.eval()
    nll: list[float] = []
    try:
        with torch.inference_mode():
            for batch in progress(work, total=len(work), label="perplexity", unit="batches"):
                nll += _finite_losses(model, batch.to(model.device), name)
    finally:
        model.train(was_training)
    predicted = [len(row) - 1 for row in windows.rows]
    return perplexity_of(nll, predicted, windows.record.digest)


def warn_of_contamination(folder: Path, evaluated: TextRecord) -> str | None:
    """Warn if a record in a model's folder names documents of the evaluated text.

    Calibration, compensation and finetuning record the digests of the documents that they read.
    """
    judged = set(evaluated.document_digests)
    try:
        shared = [
            (phase, text.source, len(judged & set(text.document_digests)))
            for phase, text in _texts_read(folder / RECORDS_FOLDER)
            if judged & set(text.document_digests)
        ]
    except RecordInvalid as error:
        return f"can't tell whether this text was seen before: {error}"
    if not shared:
        return None
    counts = " and ".join(
        f"{count} of {len(judged)} evaluation document{'s' * (len(judged) > 1)} "
        f"{'was' if count == 1 else 'were'} seen in {phase} ({source})"
        for phase, source, count in shared
    )
    return f"{counts}; the perplexity flatters this model, so judge it by other text."


def _texts_read(records: Path) -> Iterator[tuple[str, TextRecord]]:
    """Yield each phase that left a record in the folder, with a text that it read."""
    analysis, finetuning = records / ANALYSIS_FILE, records / FINETUNE_FILE
    compensation = records / COMPENSATION_FILE
    if analysis.is_file():
        yield "calibration", read_analysis_record(analysis).calibration
    if compensation.is_file():
        yield "compensation", read_compensation(compensation).text
    if finetuning.is_file():
        for run in read_finetune_record(finetuning).runs:
            for source in run.data:
                yield "finetuning", source.text


def _finite_losses(model: PreTrainedModel, ids: torch.Tensor, name: str) -> list[float]:
    """The loss of every window of a batch; raise `NonFiniteError` where one is not finite."""
    losses = window_losses(model, ids)
    for value in losses:
        if not math.isfinite(value):
            raise NonFiniteError(
                f"{name}: the loss of a window is {value}; "
                "try --dtype float32 (float16 overflows in many models), and check the model's "
                "weights."
            )
    return losses


def _key(candidate: Candidate, protocol: EvaluationProtocol, **measured_by: Any) -> dict[str, Any]:
    """All that a cached result depends on."""
    dtype = protocol.placement.dtype
    return {
        "model": candidate.identity and candidate.identity.digest,
        "trust_remote_code": protocol.options.trust_remote_code,
        **_mask_key(candidate),
        "file_bytes": source_weight_bytes(candidate.source),
        "device": protocol.placement.device,
        "dtype": None if dtype is None else str(dtype),
        "batch_size": protocol.options.batch_size,
        "versions": protocol.versions,
        **measured_by,
    }


def _mask_key(candidate: Candidate) -> dict[str, str]:
    """What a mask adds to the key; without one the key is as it was before there were masks."""
    return {} if candidate.mask is None else {"plan": candidate.mask.plan.decisions_digest()}


def _text_result(
    model: PreTrainedModel,
    judged: PerplexityResult,
    meter: MemoryMeter,
    candidate: Candidate,
    windows: TokenWindows,
) -> CachedTextResult:
    """Perplexity, peak memory and sizes; with a mask the sizes are those of the plan."""
    mask = candidate.mask
    removed = Fraction(0) if mask is None else mask.removed_cache_numbers
    kv_cache = cache_bytes_per_token(model, windows.rows[0][:_KV_CACHE_TOKENS], removed)
    peak, file_bytes = meter.added_bytes(), source_weight_bytes(candidate.source)
    return CachedTextResult(
        source=candidate.name,
        perplexity=judged,
        peak_memory_bytes=peak if mask is None else None,
        parameters=count_parameters(model) if mask is None else mask.effect.parameters_after,
        file_bytes=file_bytes if mask is None else None,
        kv_cache_bytes_per_token=kv_cache,
        dtype=str(model.dtype).removeprefix("torch."),
    )


def _task_results(
    model: PreTrainedModel,
    tasks: LoadedTasks,
    candidate: Candidate,
    protocol: EvaluationProtocol,
) -> CachedTaskResults:
    """Let the model answer the tasks."""
    answers = answer_tasks(
        model,
        load_tokenizer(candidate.source.path),
        tasks,
        batch_size=protocol.options.batch_size,
        progress=protocol.progress,
    )
    return CachedTaskResults(source=candidate.name, tasks=answers)


def _warnings(candidate: Candidate, windows: TokenWindows) -> tuple[str, ...]:
    """What a reader of this model's perplexity should know."""
    source = candidate.source
    warnings = list(quantisation_warnings(source))
    if candidate.mask is not None:
        warnings += candidate.mask.warnings()
    contamination = warn_of_contamination(source.adapter or source.path, windows.record)
    if contamination is not None:
        warnings.append(contamination)
    length = max(len(row) for row in windows.rows)
    if candidate.max_positions is not None and length > candidate.max_positions:
        warnings.append(
            f"windows of {length} tokens are longer than the {candidate.max_positions} positions "
            "that the model was made for."
        )
    return tuple(warnings)
