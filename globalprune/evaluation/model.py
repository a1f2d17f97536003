"""One model evaluated: perplexity, tasks and resources. Results are cached part by part."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from transformers import PreTrainedModel

from globalprune.artifacts.analyses.analysis import ANALYSIS_FILE, TextRecord, read_analysis_record
from globalprune.artifacts.evaluations.evaluation import (
    ModelResult,
    PerplexityResult,
    TaskResult,
    perplexity_of,
)
from globalprune.artifacts.records import OWN_FOLDER
from globalprune.artifacts.results.compensation import COMPENSATION_FILE, read_compensation
from globalprune.artifacts.results.finetuning import FINETUNE_FILE, read_finetune_record
from globalprune.artifacts.run_folder import KeyedRecord, RunFolder
from globalprune.errors import NonFiniteError, RecordInvalid
from globalprune.evaluation.candidates import Candidate, load_candidate
from globalprune.evaluation.lm_eval_tasks import LoadedTasks, answer_tasks
from globalprune.evaluation.resources import (
    MemoryMeter,
    cache_bytes_per_token,
    count_parameters,
    weight_file_bytes,
)
from globalprune.models.checkpoints.gguf_header import quantisation_warnings
from globalprune.models.checkpoints.identity import refuse_changed
from globalprune.models.loading import load_tokenizer
from globalprune.models.placement import Placement
from globalprune.progress import Progress, silent
from globalprune.statistics.loss import window_losses
from globalprune.text.evaluation import evaluation_windows
from globalprune.text.windows import TokenWindows, batches

CACHE_FOLDER = "parts"


class CachedTextResult(KeyedRecord):
    """A model's size, memory and perplexity."""

    kind: ClassVar[str] = "text"

    source: str
    parameters: int
    file_bytes: int | None  # None: nothing was written
    kv_cache_bytes_per_token: int | None
    peak_memory_bytes: int | None
    dtype: str
    perplexity: PerplexityResult


class CachedTaskResults(KeyedRecord):
    """A model's answers to tasks."""

    kind: ClassVar[str] = "tasks"

    source: str
    tasks: dict[str, TaskResult]


def perplexity(
    model: PreTrainedModel,
    windows: TokenWindows,
    batch_size: int = 1,
    progress: Progress = silent,
    *,
    name: str = "the model",
) -> PerplexityResult:
    """Judge a model by windows; raise `NonFiniteError` with its `name` for a loss not finite.

    The batch size changes time and memory, and the figure by no more than rounding.
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


def _finite_losses(model: PreTrainedModel, ids: torch.Tensor, name: str) -> list[float]:
    """The loss of every window of a batch; raise `NonFiniteError` where one is none."""
    losses = window_losses(model, ids)
    for value in losses:
        if not math.isfinite(value):
            raise NonFiniteError(
                f"{name}: the loss of a window is {value}; "
                "try --dtype float32 (float16 overflows in many models), and check the model's "
                "weights."
            )
    return losses


def warn_of_contamination(folder: Path, evaluated: TextRecord) -> str | None:
    """A warning if a record that lies in a model's folder says that documents were read before."""
    judged = set(evaluated.document_digests)
    try:
        found = [
            (when, text.source, len(judged & set(text.document_digests)))
            for when, text in _texts(folder / OWN_FOLDER)
            if judged & set(text.document_digests)
        ]
    except RecordInvalid as error:
        return f"can't tell whether this text was seen before: {error}"
    if not found:
        return None
    told = " and ".join(
        f"{count} of {len(judged)} evaluation document{'s' * (len(judged) > 1)} "
        f"{'was' if count == 1 else 'were'} seen in {when} ({source})"
        for when, source, count in found
    )
    return f"{told}; the perplexity flatters this model, so judge it by other text."


def _texts(records: Path) -> Iterator[tuple[str, TextRecord]]:
    """What a model was measured on and what it learned from, as far as records lie there."""
    analysis, recovery = records / ANALYSIS_FILE, records / FINETUNE_FILE
    compensation = records / COMPENSATION_FILE
    if analysis.is_file():
        yield "calibration", read_analysis_record(analysis).calibration
    if compensation.is_file():
        yield "compensation", read_compensation(compensation).text
    if recovery.is_file():
        for run in read_finetune_record(recovery).runs:
            for part in run.data:
                yield "finetuning", part.text


KV_CACHE_TOKENS = 64  # enough to count what a token takes
_Part = Literal["text", "tasks"]


@dataclass(frozen=True)
class EvaluationProtocol:
    """What every model is asked, the same for all."""

    data: str
    seq_len: int | None
    stride: int | None
    samples: int | None
    batch_size: int
    placement: Placement
    trust_remote_code: bool
    progress: Progress
    tasks: LoadedTasks | None
    versions: dict[str, str]  # those that can change an answer


def read_evaluation_windows(candidate: Candidate, question: EvaluationProtocol) -> TokenWindows:
    """The text as this model's tokenizer cuts it."""
    return evaluation_windows(
        question.data,
        lambda: load_tokenizer(candidate.source.path),
        vocab_size=candidate.vocab_size,
        samples=question.samples,
        seq_len=question.seq_len,
        stride=question.stride,
        progress=question.progress,
    )


def evaluate_model(
    candidate: Candidate, windows: TokenWindows, question: EvaluationProtocol, parts: RunFolder
) -> ModelResult:
    """Judge one model, and let it go; only what no part tells is measured."""
    if candidate.identity is None:  # nobody can say later whose figures they are
        parts = RunFolder(None)
    tasks = question.tasks
    text_key = _key(candidate, question, windows=windows.record.digest)
    tasks_key = _key(candidate, question, tasks=tasks.key if tasks else None)
    text = parts.find(CachedTextResult, text_key)
    answers = parts.find(CachedTaskResults, tasks_key) if tasks else None
    found: dict[_Part, object] = {"text": text, "tasks": answers}
    if text is None or (tasks and answers is None):
        meter = MemoryMeter(question.placement.device)
        model = load_candidate(
            candidate, question.placement, trust_remote_code=question.trust_remote_code
        )
        if text is None:
            judged = perplexity(
                model,
                windows,
                question.batch_size,
                question.progress,
                name=candidate.name,
            )
            _refuse_changed(candidate)
            text = parts.keep(_text_part(model, judged, meter, candidate, windows, text_key))
        if tasks and answers is None:
            answers = parts.keep(_tasks_part(model, tasks, candidate, question, tasks_key))
    return ModelResult(
        source=candidate.name,
        weights=candidate.weights,
        **text.model_dump(exclude={"source", "key"}),
        tasks=answers.tasks if answers else {},
        from_earlier_run=tuple(name for name, part in found.items() if part is not None),
        warnings=_warnings(candidate, windows),
    )


def _refuse_changed(candidate: Candidate) -> None:
    """Raise where the model that was loaded isn't the one that the key is of."""
    if candidate.identity is not None:
        refuse_changed(candidate.source, candidate.identity.files)


def _key(candidate: Candidate, question: EvaluationProtocol, **asked: Any) -> dict[str, Any]:
    """All that a part's figures depend on."""
    dtype = question.placement.dtype
    return {
        "model": candidate.identity and candidate.identity.digest,
        "trust_remote_code": question.trust_remote_code,
        **_masked_key(candidate),
        "file_bytes": weight_file_bytes(candidate.source),
        "device": question.placement.device,
        "dtype": None if dtype is None else str(dtype),
        "batch_size": question.batch_size,
        "versions": question.versions,
        **asked,
    }


def _masked_key(candidate: Candidate) -> dict[str, str]:
    """What a mask adds; a model without one has the key that it always had."""
    return {} if candidate.mask is None else {"plan": candidate.mask.plan.decisions_digest()}


def _text_part(
    model: PreTrainedModel,
    judged: PerplexityResult,
    meter: MemoryMeter,
    candidate: Candidate,
    windows: TokenWindows,
    key: dict[str, Any],
) -> CachedTextResult:
    """Perplexity, the memory that it took, and sizes; those behind a mask are the plan's."""
    fewer = Fraction(0) if candidate.mask is None else candidate.mask.cached_numbers
    cached = cache_bytes_per_token(model, windows.rows[0][:KV_CACHE_TOKENS], fewer)
    peak, file_bytes = meter.added_bytes(), weight_file_bytes(candidate.source)
    part = CachedTextResult(
        source=candidate.name,
        key=key,
        perplexity=judged,
        peak_memory_bytes=peak,
        parameters=count_parameters(model),
        file_bytes=file_bytes,
        kv_cache_bytes_per_token=cached,
        dtype=str(model.dtype).removeprefix("torch."),
    )
    mask = candidate.mask
    if mask is None:
        return part
    smaller = {
        "parameters": mask.effect.parameters_after,
        "file_bytes": None,
        "peak_memory_bytes": None,
    }
    return part.model_copy(update=smaller)


def _tasks_part(
    model: PreTrainedModel,
    tasks: LoadedTasks,
    candidate: Candidate,
    question: EvaluationProtocol,
    key: dict[str, Any],
) -> CachedTaskResults:
    """What lm-eval makes of the model's answers."""
    answers = answer_tasks(
        model,
        load_tokenizer(candidate.source.path),
        tasks,
        batch_size=question.batch_size,
        progress=question.progress,
    )
    return CachedTaskResults(source=candidate.name, key=key, tasks=answers)


def _warnings(candidate: Candidate, windows: TokenWindows) -> tuple[str, ...]:
    """What makes this model's perplexity less than it seems."""
    source = candidate.source
    found = list(quantisation_warnings(source))
    if candidate.mask is not None:
        found += candidate.mask.doubts()
    seen = warn_of_contamination(source.adapter or source.path, windows.record)
    if seen is not None:
        found.append(seen)
    length = max(len(row) for row in windows.rows)
    if candidate.longest is not None and length > candidate.longest:
        found.append(
            f"windows of {length} tokens are longer than the {candidate.longest} positions that "
            "the model was made for."
        )
    return tuple(found)
