"""The trial of an analysis: what its first plan really costs, beside other cuts of the same size.

An importance that is blind to a kind of groups plans to remove all of that kind, and promises that
nothing is lost. So the plan is masked on a few windows, and beside it as many parameters taken by
the same importance from one kind alone, and at random. A sound importance does no worse than those;
an analysis whose plan does clearly worse is doubted. The method is not looked at.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from pydantic import Field

from globalprune.artifacts.formatting import format_number
from globalprune.artifacts.records import Record
from globalprune.artifacts.structure import RemovedGroups

TrialCutName = Literal["plan", "attention", "mlp", "random"]
LEAST_WINDOWS: Final = 6
MOST_WINDOWS: Final = 12
MARGIN: Final = 0.1  # nats a token, a tenth in perplexity: less is no reason to stop
FACTOR: Final = 1.5  # of what the best other cut costs
ERRORS: Final = 2.0  # standard errors of the paired difference: windows lose very differently
PROMISE: Final = 3.0  # times what is predicted: more than that is said
_WORDS: Final = {
    "attention": "attention alone, by the same importance,",
    "mlp": "MLPs alone, by the same importance,",
    "random": "groups drawn at random",
}


@dataclass(frozen=True, eq=False)
class TrialCut:
    """A cut that is tried: the groups that go, their parameters, and the loss foretold of them."""

    name: TrialCutName
    groups: RemovedGroups
    parameters: int
    predicted: float | None  # nats a token; None where the importance is no loss of a masked model


class TriedRemoval(Record):
    """What the model loses where some of its groups are masked."""

    name: TrialCutName
    parameters: int = Field(ge=0)  # that go
    loss: float | None  # nats a token; None: no finite number
    # of the plan's loss less this one, paired over the windows; of the plan: less the whole model's
    standard_error: float | None = Field(ge=0)
    predicted: float | None = None  # nats a token that the importance expects on top


class Trial(Record):
    """What the first plan of an analysis costs, and whether the analysis is doubted for it."""

    importance: str
    ratio: float = Field(ge=0, lt=1)  # of all parameters, that the plan removes
    windows: int = Field(ge=1)
    predicted_tokens: int = Field(ge=1)
    unused: bool  # whether nothing was measured with these windows
    loss: float | None  # nats a token, of the model with nothing masked
    guessing: float  # nats a token where all tokens are alike: a model above it has nothing to lose
    candidates: tuple[TriedRemoval, ...]  # the plan first
    doubted: bool

    @property
    def plan(self) -> TriedRemoval:
        """What the plan itself costs."""
        return self.candidates[0]

    @property
    def best_other(self) -> TriedRemoval | None:
        """The other cut that costs least, if any could be made."""
        finite = [one for one in self.candidates[1:] if one.loss is not None]
        return min(finite, key=lambda one: one.loss or 0.0, default=None)


def window_count(measured: int) -> int:
    """How many windows a trial takes of an analysis of so many: a sixteenth, few of few."""
    return max(LEAST_WINDOWS, min(MOST_WINDOWS, measured // 16))


def trial_of(
    candidates: Sequence[TrialCut],
    losses: Mapping[TrialCutName, Sequence[float]],
    dense: Sequence[float],
    tokens: Sequence[int],
    *,
    importance: str,
    ratio: float,
    vocabulary: int,
    unused: bool,
) -> Trial:
    """Judge what was tried, from the summed losses of every window and their predicted tokens."""
    of_plan = losses["plan"]
    tried = tuple(
        TriedRemoval(
            name=one.name,
            parameters=one.parameters,
            loss=_mean(losses[one.name], tokens),
            standard_error=_paired_error(
                of_plan, dense if one.name == "plan" else losses[one.name], tokens
            ),
            predicted=one.predicted,
        )
        for one in candidates
    )
    trial = Trial(
        importance=importance,
        ratio=ratio,
        windows=len(tokens),
        predicted_tokens=sum(tokens),
        unused=unused,
        loss=_mean(dense, tokens),
        guessing=math.log(vocabulary),
        candidates=tried,
        doubted=False,
    )
    return trial.model_copy(update={"doubted": _is_doubted(trial)})


def doubt_text(trial: Trial | None) -> str | None:
    """Why the analysis is doubted and what to do, in a sentence or two; None where it isn't."""
    if trial is None or not trial.doubted:
        return None
    plan, other = trial.plan, trial.best_other
    cost = "leaves no finite loss" if plan.loss is None else f"costs {_cost(trial, plan)}"
    promise = "" if plan.predicted is None else f" where it predicts {plan.predicted:.2g}"
    text = "windows that nothing was measured with" if trial.unused else "measured windows"
    beside = ""
    if other is not None:
        beside = f"; as many parameters of {_WORDS[other.name]} cost {_cost(trial, other)}"
    return (
        f"doubted: the plan of {100 * trial.ratio:.1f} % of all parameters by {trial.importance} "
        f"{cost}{promise}, tried on {trial.windows} {text}{beside}. {_remedy(other)}"
    )


def broken_promise(trial: Trial | None) -> str | None:
    """Where the plan costs far more than its importance predicts, in a sentence; else None."""
    if trial is None or trial.loss is None or trial.loss >= trial.guessing:
        return None
    plan = trial.plan
    if plan.loss is None or plan.predicted is None or plan.standard_error is None:
        return None
    beyond = _excess(trial, plan) - PROMISE * plan.predicted
    if beyond <= max(MARGIN, ERRORS * plan.standard_error):
        return None
    return (
        f"the plan of {100 * trial.ratio:.1f} % costs {_cost(trial, plan)} where "
        f"{trial.importance} predicts {plan.predicted:.2g}: its losses are no figures to count on."
    )


def trial_text(trial: Trial | None) -> str:
    """What was tried, and what each cut costs: `plan 0.31 ± 0.02, mlp 0.33, random 2.1`."""
    if trial is None:
        return "nothing was tried"
    cuts = ", ".join(f"{one.name} {_loss_text(one)}" for one in trial.candidates)
    whole = "no finite number" if trial.loss is None else format_number(trial.loss, None)
    windows = f"{trial.windows} {'unused' if trial.unused else 'measured'} windows"
    return (
        f"{100 * trial.ratio:.1f} % masked on {windows}: {cuts} nats a token, of the whole model "
        f"{whole}"
    )


def _loss_text(tried: TriedRemoval) -> str:
    return "no finite number" if tried.loss is None else format_number(tried.loss, None)


def _remedy(other: TriedRemoval | None) -> str:
    """What a person may do instead."""
    if other is not None and other.name != "random":
        return f"Plan with --only {other.name}, or measure by another importance."
    return "Measure by another importance, or with more text."


def _cost(trial: Trial, tried: TriedRemoval) -> str:
    """What a cut costs beyond the whole model's loss; only the plan's own error is of that."""
    error = tried.standard_error if tried.name == "plan" else None
    return f"{format_number(_excess(trial, tried), error)} nats a token"


def _is_doubted(trial: Trial) -> bool:
    """Whether the plan costs clearly more than the best other cut.

    A model that predicts no better than guessing has nothing to lose, and its trial says nothing.
    """
    other = trial.best_other
    if trial.loss is None or other is None or trial.loss >= trial.guessing:
        return False
    if trial.plan.loss is None:
        return True
    more = _excess(trial, trial.plan) - _excess(trial, other)
    noise = other.standard_error
    if noise is None:  # a single window says nothing of it
        return False
    least = max(MARGIN, ERRORS * noise, (FACTOR - 1) * _excess(trial, other))
    return more > least


def _excess(trial: Trial, tried: TriedRemoval) -> float:
    """Nats a token on top of the whole model's; both are known where this is asked."""
    return (tried.loss or 0.0) - (trial.loss or 0.0)


def _mean(losses: Sequence[float], tokens: Sequence[int]) -> float | None:
    """Nats a token over all windows."""
    total = math.fsum(losses) / sum(tokens) if all(map(math.isfinite, losses)) else math.nan
    return total if math.isfinite(total) else None


def _paired_error(
    ours: Sequence[float], theirs: Sequence[float], tokens: Sequence[int]
) -> float | None:
    """The standard error of the difference of two means, windows as the units (delta method)."""
    moved = [one - other for one, other in zip(ours, theirs, strict=True)]
    if len(moved) == 1 or not all(map(math.isfinite, moved)):
        return None
    mean = math.fsum(moved) / sum(tokens)
    squares = math.fsum((one - mean * count) ** 2 for one, count in zip(moved, tokens, strict=True))
    return math.sqrt(squares * len(moved) / (len(moved) - 1)) / sum(tokens)
