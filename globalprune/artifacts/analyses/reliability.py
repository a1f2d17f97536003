"""How far an analysis can be relied on: by two halves of its windows, and by a trial.

Each half of the calibration windows scores every group for itself. Their ranks are correlated
(Spearman 1904), and the cuts that each would make are compared: lowest scores first, until a ratio
of all parameters is gone. Half the windows say less than all of them, so the figures are careful.

The trial shows what the first plan of the analysis costs. An importance that is blind to a kind of
groups plans to remove all of that kind, and promises that nothing is lost. So the plan is masked on
a few windows, and beside it cuts of as many parameters: by the same importance from one kind alone,
and at random. A sound importance does no worse than those; an analysis whose plan does clearly
worse is doubted, whatever its method.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from globalprune.artifacts.analyses.normalisers import average_ranks
from globalprune.artifacts.formatting import format_number
from globalprune.artifacts.records import Record
from globalprune.artifacts.structure import RemovedGroups

RATIOS = (0.1, 0.2, 0.3, 0.4, 0.5)
ENOUGH = 0.9  # below it, a plan says that its importances are unsure
_DIGITS = 4
Scores = NDArray[np.float64]
Costs = NDArray[np.integer[Any]]
TrialCutName = Literal["plan", "attention", "mlp", "random"]
LEAST_WINDOWS: Final = 6
MOST_WINDOWS: Final = 12
MARGIN: Final = 0.1  # nats a token, a tenth in perplexity: less is no reason to stop
FACTOR: Final = 1.5  # of what the best other cut costs
ERRORS: Final = 2.0  # standard errors of the paired difference: windows lose very differently
PROMISE: Final = 3.0  # times the predicted loss: more than that is a warning
_CUT_PHRASES: Final = {
    "attention": "attention alone, by the same importance,",
    "mlp": "MLPs alone, by the same importance,",
    "random": "groups drawn at random",
}


class SharedCut(Record):
    """What two cuts of the same ratio have in common."""

    ratio: float = Field(gt=0, lt=1)  # of all parameters of the model
    shared: float = Field(ge=0, le=1)  # of the parameters that one removes, those that both remove


class Reliability(Record):
    """How far the halves of the windows agree on one importance."""

    rank_correlation: float = Field(ge=-1, le=1)  # Spearman's, over the scores of all groups
    cuts: tuple[SharedCut, ...]  # at the ratios that the measured groups allow

    def nearest_cut(self, ratio: float) -> SharedCut | None:
        """Return the cut whose ratio is closest to `ratio`."""
        return min(self.cuts, key=lambda cut: abs(cut.ratio - ratio), default=None)

    def doubts(self, ratio: float) -> Iterator[str]:
        """Yield what is below `ENOUGH`, in words."""
        if self.rank_correlation < ENOUGH:
            yield f"their ranks correlate by {self.rank_correlation:.2f}"
        cut = self.nearest_cut(ratio)
        if cut is not None and cut.shared < ENOUGH:
            yield (
                f"their cuts of {100 * cut.ratio:.0f} % share {100 * cut.shared:.0f} % of what "
                "each removes"
            )


@dataclass(frozen=True, eq=False)
class TrialCut:
    """A cut that is tried: the groups that go, their parameters, and the predicted loss."""

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
        """Return the result of the plan itself."""
        return self.candidates[0]

    @property
    def best_other(self) -> TriedRemoval | None:
        """Return the other cut that costs least; None where none has a finite loss."""
        finite = [one for one in self.candidates[1:] if one.loss is not None]
        return min(finite, key=lambda one: one.loss or 0.0, default=None)


def agreement(reliability: Reliability) -> str:
    """Describe it: `ranks correlate by 0.950; shared of a cut of 10 %: 0.93, 20 %: 0.95`."""
    cuts = ", ".join(f"{100 * cut.ratio:.0f} %: {cut.shared:.2f}" for cut in reliability.cuts)
    return f"ranks correlate by {reliability.rank_correlation:.3f}" + (
        f"; shared of a cut of {cuts}" if cuts else ""
    )


def reliability_of(first: Scores, second: Scores, costs: Costs, parameters: int) -> Reliability:
    """Compare the scores that two halves of the windows give the same groups, in the same order."""
    total = int(costs.sum())
    reachable = [ratio for ratio in RATIOS if _need(ratio, parameters) <= total]
    return Reliability(
        rank_correlation=_rank_correlation(first, second),
        cuts=tuple(
            SharedCut(ratio=ratio, shared=_shared(first, second, costs, _need(ratio, parameters)))
            for ratio in reachable
        ),
    )


def window_count(measured: int) -> int:
    """Return how many windows a trial takes, of an analysis by `measured` windows."""
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
    """Return the trial, from the summed losses of every window and their predicted tokens.

    `losses` holds nats by cut and window, `dense` those of the whole model, `tokens` the predicted
    tokens of every window.
    """
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
    """Return why the analysis is doubted and what to do; None where it isn't doubted."""
    if trial is None or not trial.doubted:
        return None
    plan, other = trial.plan, trial.best_other
    cost = "leaves no finite loss" if plan.loss is None else f"costs {_cost(trial, plan)}"
    promise = "" if plan.predicted is None else f" where it predicts {plan.predicted:.2g}"
    text = "windows that nothing was measured with" if trial.unused else "measured windows"
    beside = ""
    if other is not None:
        beside = f"; as many parameters of {_CUT_PHRASES[other.name]} cost {_cost(trial, other)}"
    return (
        f"doubted: the plan of {100 * trial.ratio:.1f} % of all parameters by {trial.importance} "
        f"{cost}{promise}, tried on {trial.windows} {text}{beside}. {_remedy(other)}"
    )


def broken_promise(trial: Trial | None) -> str | None:
    """Return a warning where the plan costs far more than its importance predicts; else None."""
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
    """Describe a trial and what each cut costs: `plan 0.31 ± 0.02, mlp 0.33, random 2.1`."""
    if trial is None:
        return "nothing was tried"
    cuts = ", ".join(f"{one.name} {_loss_text(one)}" for one in trial.candidates)
    whole = "no finite number" if trial.loss is None else format_number(trial.loss, None)
    windows = f"{trial.windows} {'unused' if trial.unused else 'measured'} windows"
    return (
        f"{100 * trial.ratio:.1f} % masked on {windows}: {cuts} nats a token, of the whole model "
        f"{whole}"
    )


def _rank_correlation(first: Scores, second: Scores) -> float:
    """Return Spearman's correlation; 1 where both orders are the same, also if all tie."""
    one, other = (average_ranks(scores) - (len(scores) + 1) / 2 for scores in (first, second))
    if np.array_equal(one, other):
        return 1.0
    size = math.sqrt(float(one @ one) * float(other @ other))
    return round(float(one @ other) / size, _DIGITS) if size else 0.0


def _need(ratio: float, parameters: int) -> int:
    """Return the parameters of a ratio, rounded up: in per cent, since 0.1 * 30 exceeds 3."""
    return -(-round(100 * ratio) * parameters // 100)


def _shared(first: Scores, second: Scores, costs: Costs, need: int) -> float:
    """Return the parameters that both cuts remove, relative to the mean of what each removes."""
    one, other = _cut(first, costs, need), _cut(second, costs, need)
    removed = int(costs[one].sum()) + int(costs[other].sum())
    return round(2 * int(costs[one & other].sum()) / removed, _DIGITS)


def _cut(scores: Scores, costs: Costs, need: int) -> NDArray[np.bool_]:
    """Mark the lowest scores until `need` parameters are gone: a plan's but for the last few."""
    order = np.argsort(scores, kind="stable")
    count = int(np.searchsorted(np.cumsum(costs[order]), need)) + 1
    gone = np.zeros(len(scores), bool)
    gone[order[:count]] = True
    return gone


def _loss_text(tried: TriedRemoval) -> str:
    return "no finite number" if tried.loss is None else format_number(tried.loss, None)


def _remedy(other: TriedRemoval | None) -> str:
    """Return what a person may do instead."""
    if other is not None and other.name != "random":
        return f"Plan with --only {other.name}, or measure by another importance."
    return "Measure by another importance, or with more text."


def _cost(trial: Trial, tried: TriedRemoval) -> str:
    """Return a cut's loss beyond the whole model's; the plan's with its standard error."""
    error = tried.standard_error if tried.name == "plan" else None
    return f"{format_number(_excess(trial, tried), error)} nats a token"


def _is_doubted(trial: Trial) -> bool:
    """Return whether the plan costs clearly more than the best other cut.

    A model that predicts no better than guessing has nothing to lose, and is never doubted.
    """
    other = trial.best_other
    if trial.loss is None or other is None or trial.loss >= trial.guessing:
        return False
    if trial.plan.loss is None:
        return True
    more = _excess(trial, trial.plan) - _excess(trial, other)
    noise = other.standard_error
    if noise is None:  # a single window has no standard error
        return False
    least = max(MARGIN, ERRORS * noise, (FACTOR - 1) * _excess(trial, other))
    return more > least


def _excess(trial: Trial, tried: TriedRemoval) -> float:
    """Return the nats a token on top of the whole model's; both losses must be finite."""
    return (tried.loss or 0.0) - (trial.loss or 0.0)


def _mean(losses: Sequence[float], tokens: Sequence[int]) -> float | None:
    """Return nats a token over all windows; None where a loss is not finite."""
    total = math.fsum(losses) / sum(tokens) if all(map(math.isfinite, losses)) else math.nan
    return total if math.isfinite(total) else None


def _paired_error(
    ours: Sequence[float], theirs: Sequence[float], tokens: Sequence[int]
) -> float | None:
    """Return the standard error of the difference of two means, by windows (delta method).

    None for a single window, and where a loss is not finite.
    """
    differences = [one - other for one, other in zip(ours, theirs, strict=True)]
    if len(differences) == 1 or not all(map(math.isfinite, differences)):
        return None
    mean = math.fsum(differences) / sum(tokens)
    squares = math.fsum(
        (one - mean * count) ** 2 for one, count in zip(differences, tokens, strict=True)
    )
    return math.sqrt(squares * len(differences) / (len(differences) - 1)) / sum(tokens)
