"""Several models judged alike: one after the other, by the same text, each with its own tokenizer.

All in one process, since a fresh one for each model would import torch each time; efficiency.py
says how memory stays comparable. Nothing is printed here.
"""

from collections.abc import Sequence
from typing import Literal

from globalprune.artifacts.analysis_record import TextRecord
from globalprune.artifacts.provenance import tool_versions
from globalprune.artifacts.record import Record
from globalprune.errors import UsageError
from globalprune.evaluate.measurement import ModelResult, Question, find_candidate, measure
from globalprune.models.placement import choose_placement
from globalprune.progress import Progress, silent
from globalprune.text.cutting import check_counts
from globalprune.text.source import BUILTIN, parse_source


class Comparison(Record):
    """Models side by side, the first as the baseline, and what they were judged by."""

    format: Literal["globalprune.evaluation/1"] = "globalprune.evaluation/1"
    models: tuple[ModelResult, ...]
    text: TextRecord  # as the first model's tokenizer cut it
    batch_size: int
    device: str
    versions: dict[str, str]
    warnings: tuple[str, ...] = ()


def evaluate_models(
    models: Sequence[str],
    data: str | None = None,
    *,
    seq_len: int | None = None,
    stride: int | None = None,
    samples: int | None = None,
    batch_size: int = 1,
    device: str | None = None,
    dtype: str | None = None,
    trust_remote_code: bool = False,
    progress: Progress = silent,
) -> Comparison:
    """Measure perplexity, size, speed and memory of each model; only one is loaded at a time.

    `data` None is the builtin text that calibration never sees, `device` None the first GPU if
    there is one, `dtype` None float32 on a CPU and the checkpoint's elsewhere. What can be refused
    is refused before a model is loaded.
    """
    if not models:
        raise UsageError("no model to evaluate; name at least one.")
    check_counts(samples=samples, seq_len=seq_len, stride=stride, batch_size=batch_size)
    question = Question(
        data=data or BUILTIN,
        seq_len=seq_len,
        stride=stride,
        samples=samples,
        batch_size=batch_size,
        placement=choose_placement(device, dtype),
        trust_remote_code=trust_remote_code,
        progress=progress,
    )
    parse_source(question.data)
    candidates = [find_candidate(name) for name in models]
    measured = [measure(candidate, question) for candidate in candidates]
    results = tuple(result for result, _ in measured)
    return Comparison(
        models=results,
        text=measured[0][1],
        batch_size=batch_size,
        device=question.placement.device,
        versions=tool_versions(),
        warnings=_warn_of_other_tokens(results),
    )


def _warn_of_other_tokens(results: Sequence[ModelResult]) -> tuple[str, ...]:
    """Say so if the models' tokenizers cut the text differently."""
    if len({result.windows for result in results}) == 1:
        return ()
    message = (
        "the models' tokenizers cut the text into different tokens, so their perplexities are "
        "not comparable."
    )
    return (message,)
