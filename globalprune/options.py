"""The options of every phase, and of prune, sweep and measure: one frozen dataclass each.

Commands build them from their options, and a Python caller by name; they are handed on whole. A
model, a plan and the place of the result are no options: they are arguments of the function.
Nothing heavy loads with this module.
"""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from globalprune.artifacts.evaluations.evaluation import (
    EvaluationSettings,
    SpeedSettings,
    TaskSettings,
)
from globalprune.artifacts.plans.plan import Budgets, Constraints
from globalprune.artifacts.results.cut import GATE_STEPS, CompensationRequest
from globalprune.artifacts.results.finetuning import FinetuneSettings, LoraSettings
from globalprune.errors import UsageError

DEFAULT_IMPORTANCE: Final = "fisher"
DEFAULT_RATIO: Final = 0.25  # of the first plan that an analysis writes
DEFAULT_RATIOS: Final = (0.1, 0.2, 0.3, 0.4, 0.5)  # of a sweep
DEFAULT_PRESET: Final = "fast"


@dataclass(frozen=True)
class AnalyzeOptions:
    """How a model is measured, and what the first plan removes."""

    data: str | None = None  # text to measure with; None: web text from the Hub
    samples: int | None = None  # windows; None: 128, or all rows of `input_ids`
    seq_len: int | None = None  # tokens in a window; None: 512
    batch_size: int = 4  # windows that run at once; changes figures by rounding alone
    seed: int = 0  # draws the positions of the windows, and sampled labels
    importances: tuple[str, ...] = (DEFAULT_IMPORTANCE,)  # the table is scored by the first
    normaliser: str | None = None  # of the first importance; None: its own
    layers: str | None = None  # "A:B" measures layers A up to, not including, B; None: all
    labels: str = "text"  # next tokens that gradients are taken of: "text" or "sampled"
    prior_plan: Path | None = None  # measure what this plan leaves
    compensate: bool = False  # with a prior plan: as compensation would leave it
    gate_steps: int = GATE_STEPS  # of that compensation
    ratio: float = DEFAULT_RATIO  # of all parameters, that the first plan removes
    largest: bool = False  # write the largest plan where the ratio can't be reached
    device: str | None = None  # None: the first GPU, else cpu
    dtype: str | None = None  # None: float32 on cpu, the checkpoint's elsewhere
    trust_remote_code: bool = False
    resume: bool = False  # go on in OUT.unfinished
    overwrite: bool = False

    def __post_init__(self) -> None:
        """Refuse compensation without a plan to compensate for."""
        if self.compensate and self.prior_plan is None:
            raise UsageError("--compensate: is for a plan that is given; say --given PLAN too.")


@dataclass(frozen=True)
class PlanOptions:
    """What plans are made for: each ratio gives one plan; without a ratio, the budgets give one."""

    ratios: tuple[float, ...] = ()  # of all parameters
    budgets: Budgets = field(default_factory=Budgets)  # what every plan keeps as well
    machine: Path | None = None  # what gp measure wrote, for a latency
    constraints: Constraints = field(default_factory=Constraints)
    importance: str | None = None  # a column of the table; None: the one that it is scored by
    normaliser: str | None = None
    strategy: str | None = None  # None: knapsack
    nested: bool = False  # every plan removes all that those of smaller ratios do
    replanned: Path | None = None  # a plan whose pins, edits and constraints are kept
    largest: bool = False
    overwrite: bool = False  # replace plans that were edited by hand; their pins are kept


@dataclass(frozen=True)
class FinetuneOptions:
    """How a model is finetuned.

    Behind a cut, `apply` and `prune` choose teacher, device, dtype, resume and overwrite: the
    teacher is the model before the cut where the settings have a distillation.
    """

    settings: FinetuneSettings = field(default_factory=FinetuneSettings)
    data: tuple[str, ...] = ()  # SRC[@WEIGHT]; none: web text from the Hub
    teacher: str | None = None  # a model to distil from
    keep_adapter: bool = False  # write the adapter alone, instead of the merged model
    device: str | None = None  # cpu or cuda
    dtype: str | None = None  # of the arithmetic; None: float32 on cpu, bfloat16 elsewhere
    trust_remote_code: bool = False
    resume: bool = False
    overwrite: bool = False


FINETUNE_PRESETS: Final[dict[str, FinetuneSettings]] = {
    "light": FinetuneSettings(samples=500, lora=LoraSettings(r=8, alpha=16)),  # below 20 %
    "moderate": FinetuneSettings(samples=1000, lora=LoraSettings(r=16, alpha=32)),  # to 30 %
    "aggressive": FinetuneSettings(method="full", samples=2000, learning_rate=1e-5, lora=None),
}
FINETUNE_METHODS: Final[dict[str, FinetuneSettings]] = {
    "lora": FINETUNE_PRESETS["light"],  # the founding defaults
    "full": FinetuneSettings(method="full", lora=None),
}


def finetune_settings(name: str) -> FinetuneSettings:
    """Return the settings of a method or a preset; raise `UsageError` for any other name."""
    named = FINETUNE_METHODS | FINETUNE_PRESETS
    if name not in named:
        raise UsageError(f"{name}: is no way to finetune; there are {', '.join(named)}.")
    return named[name]


@dataclass(frozen=True)
class ApplyOptions:
    """How a model is cut by a plan, and which phases follow."""

    analysis: Path | None = None  # whose record is kept; None: the one that the plan names
    compensation: CompensationRequest | None = None
    finetune: FinetuneOptions | None = None
    evaluate: str | None = None  # text that the models before and after are evaluated on
    device: str | None = None
    dtype: str | None = None  # of compensation, finetuning and evaluation
    save_dtype: str | None = None  # that floats are written as; None: each as it is stored
    resume: bool = False
    overwrite: bool = False

    @property
    def in_stages(self) -> bool:
        """Whether there is work that an interrupted run keeps."""
        return self.compensation is not None or self.finetune is not None


@dataclass(frozen=True)
class EvaluateOptions:
    """What models are evaluated on."""

    data: str = "builtin"  # the part of it that calibration never reads
    plans: tuple[Path, ...] = ()  # each is put on the first model as a mask
    seq_len: int | None = None  # None: 512
    stride: int | None = None  # tokens from one window's start to the next; None: a window
    samples: int | None = None  # windows from the start of the text; None: all
    batch_size: int = 1
    device: str | None = None  # None: the first GPU, else cpu
    dtype: str | None = None  # None: float32 on cpu, the checkpoint's elsewhere
    trust_remote_code: bool = False
    tasks: TaskSettings | None = None  # of lm-eval
    speed: SpeedSettings | None = field(default_factory=SpeedSettings)  # None: not measured

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

    Every point decodes `tokens` tokens for each of `batch_size` sequences, after a KV cache of
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


@dataclass(frozen=True)
class Preset:
    """An importance, and what becomes of the groups that stay."""

    importance: str
    rounds: int  # plans on the way to the ratio, each measured on what the one before leaves
    compensate: bool
    gate_steps: int = 0  # of compensation, for gate and up of MLPs


PRESETS: Final = {
    "founding": Preset(importance="taylor", rounds=1, compensate=False),
    "fast": Preset(importance="obs", rounds=1, compensate=True),
    "best": Preset("obs_measured", rounds=1, compensate=True, gate_steps=GATE_STEPS),
}


@dataclass(frozen=True)
class PruneOptions:
    """What `prune` does in a row; None of importance, rounds and so on is the preset's."""

    ratio: float  # of all parameters, that go
    data: str | None = None  # text to measure and to compensate with; None: from the Hub
    samples: int | None = None
    seq_len: int | None = None
    batch_size: int = 4
    seed: int = 0
    preset: str = DEFAULT_PRESET
    importance: str | None = None
    rounds: int | None = None
    compensate: bool | None = None
    gate_steps: int | None = None
    finetune: FinetuneOptions | None = None
    evaluate: str | None = None
    device: str | None = None
    dtype: str | None = None
    save_dtype: str | None = None
    largest: bool = False  # cut by the largest plan where the ratio can't be reached
    resume: bool = False
    overwrite: bool = False

    def __post_init__(self) -> None:
        """Refuse an unknown preset, fewer than one round, and gate steps without compensation."""
        if self.preset not in PRESETS:
            raise UsageError(
                f"--preset {self.preset}: is not known; there are {', '.join(PRESETS)}."
            )
        if self.rounds is not None and self.rounds < 1:
            raise UsageError(f"--rounds {self.rounds}: must be at least 1.")
        if self.gate_steps is not None and not self.recipe.compensate:
            raise UsageError("--gate-steps: is for --compensate; say that too, or leave it out.")

    @property
    def recipe(self) -> Preset:
        """The preset, with what is set beside it."""
        beside = {
            name: value
            for name in ("importance", "rounds", "compensate", "gate_steps")
            if (value := getattr(self, name)) is not None
        }
        return replace(PRESETS[self.preset], **beside)

    def analyze_options(self, ratio: float, prior_plan: Path | None) -> AnalyzeOptions:
        """The analysis of one round, whose first plan removes `ratio` of all parameters."""
        recipe = self.recipe
        return AnalyzeOptions(
            data=self.data,
            samples=self.samples,
            seq_len=self.seq_len,
            batch_size=self.batch_size,
            seed=self.seed,
            importances=(recipe.importance,),
            prior_plan=prior_plan,
            compensate=recipe.compensate and prior_plan is not None,
            gate_steps=recipe.gate_steps,
            ratio=ratio,
            largest=self.largest,
            device=self.device,
            dtype=self.dtype,
            resume=self.resume,
        )

    def apply_options(self, analysis: Path | None = None) -> ApplyOptions:
        """The cut and the phases after it; `analysis` is the folder of the last round."""
        recipe = self.recipe
        compensation = CompensationRequest(
            data=self.data,
            samples=self.samples,
            seq_len=self.seq_len,
            seed=self.seed,
            gate_steps=recipe.gate_steps,
            batch_size=self.batch_size,
        )
        return ApplyOptions(
            analysis=analysis,
            compensation=compensation if recipe.compensate else None,
            finetune=self.finetune,
            evaluate=self.evaluate,
            device=self.device,
            dtype=self.dtype,
            save_dtype=self.save_dtype,
            resume=self.resume,
            overwrite=self.overwrite,
        )


@dataclass(frozen=True)
class SweepOptions:
    """Which plans of one model are evaluated, and how."""

    analysis: Path | None = None  # plans are made from it at every ratio
    ratios: tuple[float, ...] = ()  # none: 0.1 to 0.5
    importances: tuple[str, ...] = ()  # none: the one that the analysis is scored by
    plans: tuple[Path, ...] = ()  # further plans
    evaluate: EvaluateOptions = field(default_factory=lambda: EvaluateOptions(speed=None))
    compensation: CompensationRequest | None = None  # None: every plan is judged as a mask
    compensate_all: bool = False  # plans that don't count on compensation too
    keep_models: bool = False
    save_dtype: str | None = None
    largest: bool = False
    overwrite: bool = False  # replace plans in OUT/plans that were edited by hand
