"""evaluation.json: models compared on the same windows, tasks and machine.

The sums behind each figure are recorded, so a reader can compute standard errors and paired
differences again. Two models are compared pair by pair: what is hard or slow for both drops out.
"""

import math
import statistics
from collections.abc import Sequence
from typing import Annotated, Final, Literal

from pydantic import Field, model_validator

from globalprune.artifacts.records import Command, Record, TextRecord

EVALUATION_FORMAT: Literal["globalprune.evaluation/2"] = "globalprune.evaluation/2"
Estimate = tuple[float, float | None]  # a value and its standard error
_MEDIAN_INEFFICIENCY: Final = math.sqrt(math.pi / 2)  # of a median against a mean, normal noise


Rounds = Annotated[tuple[Annotated[float, Field(gt=0)], ...], Field(min_length=1)]


class PerplexityResult(Record):
    """exp(Σ nll / Σ predicted tokens), and the sums behind it; nll is in nats."""

    value: float | None  # None: more than a float holds
    standard_error: float | None  # with windows as the units; None: a single window has none
    nll_sum: float
    predicted_tokens: int = Field(gt=0)
    window_nll: tuple[float, ...]
    window_tokens: tuple[int, ...]  # predicted ones
    windows: str  # digest of the windows' ids: equal ones make perplexities comparable

    @model_validator(mode="after")
    def _agree(self) -> "PerplexityResult":
        """Refuse sums of other numbers of windows, or tokens that add up to another number."""
        if len(self.window_nll) != len(self.window_tokens) or not self.window_nll:
            counts = f"{len(self.window_nll)} and {len(self.window_tokens)} windows"
            raise ValueError(f"window_nll and window_tokens have {counts}, and should have as many")
        if sum(self.window_tokens) != self.predicted_tokens:
            raise ValueError("window_tokens don't add up to predicted_tokens")
        return self


class MetricResult(Record):
    """One metric of a task, as lm-eval gives it."""

    value: float | None  # None: not a finite number
    standard_error: float | None
    higher_is_better: bool | None = None
    right: Annotated[str, Field(pattern="^[01]*$")] | None = (
        None  # a 0 or 1 for every document in order, where each is one of these
    )


class TaskResult(Record):
    """One task of lm-eval, or a group of tasks that has a figure of its own."""

    metrics: dict[str, MetricResult]
    documents: int = Field(ge=0)
    document_digest: str | None = None  # of its documents; None: a group
    fewshot: int | None = None
    version: str | None = None  # as the task names it
    config: str | None = None  # digest of the task's definition; None: a group
    part_of: str | None = None  # the group that has a figure of its own


class SpeedResult(Record):
    """The figures of every round, in order, at batch size 1."""

    prefill_tokens_per_second: Rounds
    decode_tokens_per_second: Rounds
    time_to_first_token_seconds: Rounds


class ModelResult(Record):
    """One model's figures; None is a figure that was not, or could not be, measured."""

    source: str
    weights: str  # fingerprint
    parameters: int = Field(gt=0)
    file_bytes: int | None = Field(ge=0)  # None: judged as a mask, nothing was written
    kv_cache_bytes_per_token: int | None
    peak_memory_bytes: int | None
    dtype: str
    perplexity: PerplexityResult
    tasks: dict[str, TaskResult] = Field(default_factory=dict)
    speed: SpeedResult | None = None
    from_earlier_run: tuple[Literal["text", "tasks"], ...] = ()  # results that were cached
    warnings: tuple[str, ...] = ()


class Seeds(Record):
    """lm-eval's own defaults, so that its figures can be reproduced."""

    random: int = 0
    numpy: int = 1234
    torch: int = 1234
    fewshot: int = 1234


class TaskSettings(Record):
    """How lm-eval runs; a name is a task that it knows, or a local .yaml file."""

    names: tuple[str, ...]
    include_path: str | None = None
    limit: int | None = Field(default=None, ge=1)  # documents of each task
    fewshot: int | None = Field(default=None, ge=0)  # None: as each task says
    apply_chat_template: bool = False
    bootstrap: int = 1000  # resamples, for the errors of metrics without a formula
    seeds: Seeds = Seeds()


class SpeedSettings(Record):
    """How speed is measured; a record holds what could be followed."""

    prompt_tokens: int = Field(default=256, ge=1)
    decoded_tokens: int = Field(default=32, ge=1)
    rounds: int = Field(default=5, ge=1)
    interleaved: bool = True  # False: memory didn't hold the models together; not comparable


class EvaluationSettings(Record):
    """How models are evaluated; None is the default."""

    seq_len: int | None
    stride: int | None
    samples: int | None
    batch_size: int = Field(ge=1)
    dtype: str | None
    tasks: TaskSettings | None = None
    speed: SpeedSettings | None = None


class Hardware(Record):
    """The hardware that speed depends on."""

    cpu: str
    threads: int
    gpu: str | None = None


class Comparison(Record):
    """Models side by side, the first as the baseline, and how they were evaluated."""

    format: Literal["globalprune.evaluation/2"] = EVALUATION_FORMAT
    models: tuple[ModelResult, ...] = Field(min_length=1)
    text: TextRecord  # as the first model's tokenizer cut it
    settings: EvaluationSettings
    device: str
    hardware: Hardware
    versions: dict[str, str]
    command: Command
    warnings: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _comparable(self) -> "Comparison":
        """Refuse figures of the same windows or rounds whose numbers differ."""
        refuse_other_windows([model.perplexity for model in self.models])
        speeds = [model.speed for model in self.models if model.speed is not None]
        together = self.settings.speed is not None and self.settings.speed.interleaved
        rounds = {
            len(one)
            for speed in speeds
            for one in (
                speed.prefill_tokens_per_second,
                speed.decode_tokens_per_second,
                speed.time_to_first_token_seconds,
            )
        }
        if together and len(rounds) > 1:
            raise ValueError("speed: models that were timed in turn have not as many rounds each")
        return self


def perplexity_of(nll: Sequence[float], tokens: Sequence[int], windows: str) -> PerplexityResult:
    """Perplexity weighted by token, and its standard error by the delta method.

    The units are windows: the mean loss is a ratio of sums over them, so the residual of a window
    is its nll minus what its tokens would have at that mean.
    """
    total, predicted = math.fsum(nll), sum(tokens)
    value = _exp(total / predicted)
    error = _scaled_error(_residuals(nll, tokens), predicted)
    return PerplexityResult(
        value=value,
        standard_error=None if error is None or value is None else value * error,
        nll_sum=total,
        predicted_tokens=predicted,
        window_nll=tuple(nll),
        window_tokens=tuple(tokens),
        windows=windows,
    )


def perplexity_difference(new: PerplexityResult, old: PerplexityResult) -> Estimate | None:
    """Return the difference of two perplexities, paired by window; None for other windows."""
    if new.windows != old.windows or new.value is None or old.value is None:
        return None
    pairs = zip(
        _residuals(new.window_nll, new.window_tokens),
        _residuals(old.window_nll, old.window_tokens),
        strict=True,
    )
    moved = [new.value * ours - old.value * theirs for ours, theirs in pairs]
    return new.value - old.value, _scaled_error(moved, new.predicted_tokens)


def median_of_rounds(rounds: Sequence[float]) -> Estimate:
    """Return the median round and its error; a single round has none."""
    if len(rounds) == 1:
        return rounds[0], None
    error = _MEDIAN_INEFFICIENCY * statistics.stdev(rounds) / math.sqrt(len(rounds))
    return statistics.median(rounds), error


def ratio_of_rounds(new: Sequence[float], old: Sequence[float]) -> Estimate:
    """The median of the rounds' ratios; both models ran in each round, so they share its noise."""
    return median_of_rounds([ours / theirs for ours, theirs in zip(new, old, strict=True)])


def metric_difference(
    new: MetricResult, old: MetricResult, *, same_documents: bool
) -> tuple[float, float | None, bool] | None:
    """Return the difference of two metrics, its error, and whether that is paired by document.

    Unpaired errors are added in quadrature, which overstates the error where models agree.
    """
    if new.value is None or old.value is None:
        return None
    moved = new.value - old.value
    if same_documents and new.right and old.right and len(new.right) == len(old.right):
        differences = [int(ours) - int(theirs) for ours, theirs in zip(new.right, old.right)]  # noqa: B905 - their lengths were just compared
        return moved, _error_of_mean(differences), True
    if new.standard_error is None or old.standard_error is None:
        return moved, None, False
    return moved, math.hypot(new.standard_error, old.standard_error), False


def refuse_other_windows(results: Sequence[PerplexityResult]) -> None:
    """Raise `ValueError` where results name the same windows but have other tokens."""
    tokens: dict[str, tuple[int, ...]] = {}
    for one in results:
        if tokens.setdefault(one.windows, one.window_tokens) != one.window_tokens:
            raise ValueError(f"perplexity: the windows {one.windows} have other tokens elsewhere")


def _residuals(nll: Sequence[float], tokens: Sequence[int]) -> list[float]:
    """Each window's nll minus that of as many tokens at the mean of the whole text."""
    mean = math.fsum(nll) / sum(tokens)
    return [loss - mean * count for loss, count in zip(nll, tokens, strict=True)]


def _scaled_error(residuals: Sequence[float], tokens: int) -> float | None:
    """Return the standard error of Σ residuals / tokens; a single unit has none."""
    units = len(residuals)
    if units == 1:
        return None
    squares = math.fsum(residual**2 for residual in residuals)
    return math.sqrt(squares * units / (units - 1)) / tokens


def _error_of_mean(values: Sequence[int]) -> float | None:
    """Return the standard error of a mean; a single value has none."""
    return statistics.stdev(values) / math.sqrt(len(values)) if len(values) > 1 else None


def _exp(mean_nll: float) -> float | None:
    """Return the perplexity of a mean loss; None where no float holds it, as of a ruined model."""
    try:
        return math.exp(mean_nll)
    except OverflowError:
        return None
