"""What the trial of an analysis masks: its first plan, beside other cuts of the same size.

Analysing knows nothing of planning, so the pipeline hands this in.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from globalprune.artifacts.analyses.analysis import Analysis
from globalprune.artifacts.analyses.trial import Candidate
from globalprune.artifacts.plans.plan import Target
from globalprune.artifacts.plans.plan_file import PLAN_FILE, standing_plan
from globalprune.artifacts.structure import RemovedGroups
from globalprune.errors import ArtifactError, UsageError
from globalprune.planning.planner import Planned, make_plan
from globalprune.planning.trial_candidates import trial_candidates
from globalprune.planning.write import standing_pins

if TYPE_CHECKING:
    from globalprune.analysis.trial import Candidates

_MODEST: Final = 0.1  # of all parameters: what is tried where there is no first plan, at most
_SHARE: Final = 0.25  # of what may go, at most


def candidates_at(ratio: float) -> "Candidates":
    """What to try of an analysis whose first plan removes `ratio` of all parameters."""

    def candidates(analysis: Analysis, decided: RemovedGroups) -> Sequence[Candidate]:
        try:
            planned = _planned(analysis, ratio)
            if planned.reached and (tried := trial_candidates(analysis, planned.plan, decided)):
                return tried
            modest = _planned(analysis, _modest_ratio(analysis, decided))
            return trial_candidates(analysis, modest.plan, decided)
        except (ArtifactError, UsageError):  # said where the plan is written; the analysis stays
            return ()

    return candidates


def _planned(analysis: Analysis, ratio: float) -> Planned:
    """The plan that would be written beside the analysis, with the pins that lie there."""
    path = analysis.folder / PLAN_FILE
    pins, source, _ = standing_pins(analysis, path, {path: standing_plan(path, overwrite=True)})
    return make_plan(analysis, Target(ratio=ratio), pins=pins, pins_of=str(source))


def _modest_ratio(analysis: Analysis, decided: RemovedGroups) -> float:
    """A ratio that the measured groups allow, whatever was asked for."""
    record = analysis.record
    layers = record.structure.layers
    gone = sum(
        len(groups) * layers[layer].half(kind).cost for (layer, kind), groups in decided.items()
    )
    allowed = max(0, record.removable - gone)
    return gone / record.structure.parameters + min(
        _MODEST, _SHARE * allowed / record.structure.parameters
    )
