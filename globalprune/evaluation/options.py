"""The options of gp eval and gp measure."""

from dataclasses import dataclass
from typing import Final

from globalprune.artifacts.evaluations.evaluation import (
    EvaluationSettings,
    SpeedSettings,
    TaskSettings,
)
from globalprune.errors import UsageError
from globalprune.text.source import BUILTIN

DEFAULT_SPEED: Final = SpeedSettings()


@dataclass(frozen=True)
class EvaluationOptions:
    """What every model is evaluated by.

    The default text is the builtin one that calibration never reads. `device` None is the first GPU
    if there is one; `dtype` None is float32 on a CPU, and the checkpoint's own elsewhere.
    """

    data: str = BUILTIN
    seq_len: int | None = None
    stride: int | None = None
    samples: int | None = None
    batch_size: int = 1
    device: str | None = None
    dtype: str | None = None
    trust_remote_code: bool = False
    tasks: TaskSettings | None = None
    speed: SpeedSettings | None = DEFAULT_SPEED  # None: speed is not measured

    def record(self, speed: SpeedSettings | None) -> EvaluationSettings:
        """The options as evaluation.json records them; `speed` is what was measured."""
        return EvaluationSettings(
            seq_len=self.seq_len,
            stride=self.stride,
            samples=self.samples,
            batch_size=self.batch_size,
            dtype=self.dtype,
            tasks=self.tasks,
            speed=speed,
        )


@dataclass(frozen=True)
class MeasureOptions:
    """How gp measure times a token.

    Every point decodes `tokens` tokens for each of `batch_size` sequences, behind a KV cache of
    `context` tokens, once in each of `rounds` rounds.
    """

    batch_size: int = 1
    context: int = 2048
    tokens: int = 16
    points: int = 5  # counts of groups of each kind, from none to all
    rounds: int = 3
    device: str | None = None
    dtype: str | None = None

    @property
    def positions(self) -> int:
        """The positions that a sequence reaches, the token that warms up included."""
        return self.context + 1 + self.tokens

    def check(self) -> None:
        """Raise `UsageError` for a number that is too small."""
        least = {
            "--batch-size": (self.batch_size, 1),
            "--context": (self.context, 1),
            "--tokens": (self.tokens, 1),
            "--points": (self.points, 2),
            "--rounds": (self.rounds, 1),
        }
        for option, (value, minimum) in least.items():
            if value < minimum:
                raise UsageError(f"{option} {value}: must be at least {minimum}.")
