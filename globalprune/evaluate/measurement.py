"""One model measured: perplexity, size, speed and memory by the same question as any other."""

from dataclasses import dataclass

from pydantic import Field

from globalprune.artifacts.analysis_record import TextRecord
from globalprune.artifacts.record import Record
from globalprune.errors import CheckpointError
from globalprune.evaluate.efficiency import (
    MemoryMeter,
    count_parameters,
    stored_bytes,
    timed_forward,
)
from globalprune.evaluate.perplexity import perplexity
from globalprune.evaluate.seen import warn_of_seen_text
from globalprune.models.loading import load_model, load_tokenizer
from globalprune.models.opening import open_checkpoint
from globalprune.models.placement import Placement
from globalprune.models.source import ModelSource, resolve_model
from globalprune.progress import Progress
from globalprune.text.evaluation import evaluation_windows
from globalprune.text.windows import TokenWindows, batches


class ModelResult(Record):
    """One model's figures; None is what could not be measured on this machine."""

    source: str
    parameters: int = Field(gt=0)
    file_bytes: int = Field(ge=0)
    perplexity: float
    nll_sum: float
    predicted_tokens: int
    windows: str  # the digest of the windows' ids: equal ones make perplexities comparable
    tokens_per_second: float
    timed_calls: int = Field(gt=0)  # of which the best counts
    peak_memory_bytes: int | None
    dtype: str
    warnings: tuple[str, ...] = ()


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


@dataclass(frozen=True)
class Candidate:
    """A model that was found and opened, and not loaded yet."""

    source: ModelSource
    vocab_size: int
    longest: int | None  # tokens that it was made for


def find_candidate(name: str) -> Candidate:
    """Resolve a model and read its config."""
    source = resolve_model(name)
    config = open_checkpoint(source).config
    if "vocab_size" not in config:
        raise CheckpointError(f"{name}: its config has no vocab_size; is it a language model?")
    return Candidate(source, config["vocab_size"], config.get("max_position_embeddings"))


def measure(candidate: Candidate, question: Question) -> tuple[ModelResult, TextRecord]:
    """Load one model, judge it, and let it go; also tell what text it was judged by."""
    source = candidate.source
    windows = _windows(candidate, question)
    meter = MemoryMeter(question.placement.device)
    model = load_model(
        source.path,
        dtype=question.placement.dtype,
        device=question.placement.device,
        trust_remote_code=question.trust_remote_code,
    )
    first = next(batches(windows, question.batch_size))
    with timed_forward(model, warm_up=first) as clock:
        judged = perplexity(model, windows, question.batch_size, question.progress)
    result = ModelResult(
        source=source.name,
        parameters=count_parameters(model),
        file_bytes=stored_bytes(source),
        perplexity=judged.value,
        nll_sum=judged.nll_sum,
        predicted_tokens=judged.predicted_tokens,
        windows=windows.record.digest,
        tokens_per_second=clock.tokens_per_second,
        timed_calls=len(clock.rates),
        peak_memory_bytes=meter.added_bytes(),
        dtype=str(model.dtype).removeprefix("torch."),
        warnings=_warnings(candidate, windows),
    )
    return result, windows.record


def _windows(candidate: Candidate, question: Question) -> TokenWindows:
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


def _warnings(candidate: Candidate, windows: TokenWindows) -> tuple[str, ...]:
    """What makes this model's perplexity less than it seems."""
    found = []
    seen = warn_of_seen_text(candidate.source.path, windows.record)
    if seen is not None:
        found.append(seen)
    length = max(len(row) for row in windows.rows)
    if candidate.longest is not None and length > candidate.longest:
        found.append(
            f"windows of {length} tokens are longer than the {candidate.longest} positions that "
            "the model was made for."
        )
    return tuple(found)
