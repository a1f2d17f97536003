"""evaluation.json: what models are like side by side, by what text, how, and on what machine.

Sums and values that a figure comes from are kept beside it, so that errors and paired differences
can be computed again by whoever reads it; evaluation_rows.py does.
"""

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field, model_validator

from globalprune.artifacts.analyses.analysis_record import TextRecord
from globalprune.artifacts.command import Command
from globalprune.artifacts.record import Record

EVALUATION_FORMAT: Literal["globalprune.evaluation/2"] = "globalprune.evaluation/2"


Rounds = Annotated[tuple[Annotated[float, Field(gt=0)], ...], Field(min_length=1)]


class PerplexityResult(Record):
    """exp(Σ nll / Σ predicted tokens), and what it was summed of; nll is in nats."""

    value: float | None  # None: more than a float holds
    standard_error: float | None  # with windows as the units; None: a single window has none
    nll_sum: float
    predicted_tokens: int = Field(gt=0)
    window_nll: tuple[float, ...]
    window_tokens: tuple[int, ...]  # that were predicted
    windows: str  # digest of the windows' ids: equal ones make perplexities comparable

    @model_validator(mode="after")
    def _agree(self) -> "PerplexityResult":
        """Refuse windows that are not told of alike, or that add up to something else."""
        if len(self.window_nll) != len(self.window_tokens) or not self.window_nll:
            told = f"{len(self.window_nll)} and {len(self.window_tokens)} windows"
            raise ValueError(f"window_nll and window_tokens have {told}, and should have as many")
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
    document_digest: str | None = None  # of what was asked; None: a group
    fewshot: int | None = None
    version: str | None = None  # as the task names it
    config: str | None = None  # digest of the task's definition; None: a group
    part_of: str | None = None  # the group that has a figure of its own


class SpeedResult(Record):
    """What every round measured, in order, at batch size 1."""

    prefill_tokens_per_second: Rounds
    decode_tokens_per_second: Rounds
    time_to_first_token_seconds: Rounds


class ModelResult(Record):
    """One model's figures; None is what was not measured, or can't be on this machine."""

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
    from_earlier_run: tuple[Literal["text", "tasks"], ...] = ()  # parts that were taken up again
    warnings: tuple[str, ...] = ()


class Seeds(Record):
    """lm-eval's own defaults, so that its figures are found again."""

    random: int = 0
    numpy: int = 1234
    torch: int = 1234
    fewshot: int = 1234


class TaskSettings(Record):
    """What was asked of lm-eval; a name is a task that it knows, or a local .yaml file."""

    names: tuple[str, ...]
    include_path: str | None = None
    limit: int | None = Field(default=None, ge=1)  # documents of each task
    fewshot: int | None = Field(default=None, ge=0)  # None: as each task says
    apply_chat_template: bool = False
    bootstrap: int = 1000  # resamples, for the errors of metrics that have no formula
    seeds: Seeds = Seeds()


class SpeedSettings(Record):
    """How speed is measured; what could not be had as asked is recorded as it was."""

    prompt_tokens: int = Field(default=256, ge=1)
    decoded_tokens: int = Field(default=32, ge=1)
    rounds: int = Field(default=5, ge=1)
    interleaved: bool = True  # False: memory didn't hold the models together; not comparable


class EvaluationSettings(Record):
    """What was asked; None is the default."""

    seq_len: int | None
    stride: int | None
    samples: int | None
    batch_size: int = Field(ge=1)
    dtype: str | None
    tasks: TaskSettings | None = None
    speed: SpeedSettings | None = None


class Hardware(Record):
    """The machine, as far as it decides about speed."""

    cpu: str
    threads: int
    gpu: str | None = None


class Comparison(Record):
    """Models side by side, the first as the baseline, and what they were judged by."""

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
        """Refuse figures that are said to be of the same windows or rounds, and can't be."""
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


def refuse_other_windows(results: Sequence[PerplexityResult]) -> None:
    """Raise `ValueError` where results name the same windows, and their tokens differ."""
    tokens: dict[str, tuple[int, ...]] = {}
    for one in results:
        if tokens.setdefault(one.windows, one.window_tokens) != one.window_tokens:
            raise ValueError(f"perplexity: the windows {one.windows} have other tokens elsewhere")
