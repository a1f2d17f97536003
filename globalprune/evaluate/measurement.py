"""One model measured: size, memory, perplexity and tasks, by the same question as any other.

What was measured in an earlier run is taken from its part, and then no model is loaded for it.
"""

from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Literal

from transformers import PreTrainedModel

from globalprune.artifacts.evaluations.evaluation import ModelResult, PerplexityResult
from globalprune.artifacts.run_folder import RunFolder
from globalprune.evaluate.candidates import Candidate, load_candidate
from globalprune.evaluate.efficiency import (
    MemoryMeter,
    cache_bytes_per_token,
    count_parameters,
    stored_bytes,
)
from globalprune.evaluate.parts import TasksPart, TextPart
from globalprune.evaluate.perplexity import perplexity
from globalprune.evaluate.seen import warn_of_seen_text
from globalprune.evaluate.task_definitions import Tasks
from globalprune.evaluate.tasks import ask
from globalprune.models.checkpoints.gguf_header import quantisation_notes
from globalprune.models.checkpoints.identity import refuse_changed
from globalprune.models.loading import load_tokenizer
from globalprune.models.placement import Placement
from globalprune.progress import Progress
from globalprune.text.evaluation import evaluation_windows
from globalprune.text.windows import TokenWindows

CACHED_TOKENS = 64  # enough to count what a token takes
_Part = Literal["text", "tasks"]


@dataclass(frozen=True)
class Question:
    """What every model is asked, the same for all."""

    data: str
    seq_len: int | None
    stride: int | None
    samples: int | None
    batch_size: int
    placement: Placement
    trust_remote_code: bool
    progress: Progress
    tasks: Tasks | None
    versions: dict[str, str]  # those that can change an answer


def cut_windows(candidate: Candidate, question: Question) -> TokenWindows:
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


def measure(
    candidate: Candidate, windows: TokenWindows, question: Question, parts: RunFolder
) -> ModelResult:
    """Judge one model, and let it go; only what no part tells is measured."""
    if candidate.identity is None:  # nobody can say later whose figures they are
        parts = RunFolder(None)
    tasks = question.tasks
    text_key = _key(candidate, question, windows=windows.record.digest)
    tasks_key = _key(candidate, question, tasks=tasks.key if tasks else None)
    text = parts.find(TextPart, text_key)
    answers = parts.find(TasksPart, tasks_key) if tasks else None
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


def _key(candidate: Candidate, question: Question, **asked: Any) -> dict[str, Any]:
    """All that a part's figures depend on."""
    dtype = question.placement.dtype
    return {
        "model": candidate.identity and candidate.identity.digest,
        "trust_remote_code": question.trust_remote_code,
        **_masked_key(candidate),
        "file_bytes": stored_bytes(candidate.source),
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
) -> TextPart:
    """Perplexity, the memory that it took, and sizes; those behind a mask are the plan's."""
    fewer = Fraction(0) if candidate.mask is None else candidate.mask.cached_numbers
    cached = cache_bytes_per_token(model, windows.rows[0][:CACHED_TOKENS], fewer)
    peak, file_bytes = meter.added_bytes(), stored_bytes(candidate.source)
    part = TextPart(
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
    tasks: Tasks,
    candidate: Candidate,
    question: Question,
    key: dict[str, Any],
) -> TasksPart:
    """What lm-eval makes of the model's answers."""
    answers = ask(
        model,
        load_tokenizer(candidate.source.path),
        tasks,
        batch_size=question.batch_size,
        progress=question.progress,
    )
    return TasksPart(source=candidate.name, key=key, tasks=answers)


def _warnings(candidate: Candidate, windows: TokenWindows) -> tuple[str, ...]:
    """What makes this model's perplexity less than it seems."""
    source = candidate.source
    found = list(quantisation_notes(source))
    if candidate.mask is not None:
        found += candidate.mask.doubts()
    seen = warn_of_seen_text(source.adapter or source.path, windows.record)
    if seen is not None:
        found.append(seen)
    length = max(len(row) for row in windows.rows)
    if candidate.longest is not None and length > candidate.longest:
        found.append(
            f"windows of {length} tokens are longer than the {candidate.longest} positions that "
            "the model was made for."
        )
    return tuple(found)
