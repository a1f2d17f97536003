"""Measures and plans in rounds: each round scores what the plan of the one before leaves standing.

Every round is an analysis folder with its plan, as `gp analyze --given` and `gp plan` would make
it. Indices name groups of the original throughout, and the last plan alone says what is cut.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from globalprune.artifacts.analyses.analysis import ANALYSIS_FILE, read_analysis
from globalprune.artifacts.plans.plan_file import PLAN_FILE
from globalprune.pipeline.trial import candidates_at
from globalprune.planning.write import WrittenPlan, write_plans

if TYPE_CHECKING:
    from globalprune.analysis.trial import Candidates
    from globalprune.artifacts.analyses.analysis import AnalysisRecord

# the folder to write, the plan that is given, what to try at the end
Measure = Callable[[Path, Path | None, "Candidates"], "AnalysisRecord"]


@dataclass(frozen=True)
class Round:
    """An analysis with its plan, and why it is doubted, if it is."""

    folder: Path
    plan: WrittenPlan
    doubt: str | None


def plan_in_rounds(
    measure: Measure, folders: list[Path], ratio: float, *, largest: bool = False
) -> Round:
    """Run a round in each folder, in even steps to the ratio; return the last.

    A folder whose analysis is there was run before, and is only planned anew. The first plan that
    can't be written, because its ratio can't be reached, is the last one, and so is the first of an
    analysis that is doubted.
    """
    given = None
    for number, folder in enumerate(folders, start=1):
        step = ratio * number / len(folders)
        if not (folder / ANALYSIS_FILE).is_file():
            measure(folder, given, candidates_at(step))
        analysis = read_analysis(folder)
        (written,) = write_plans(analysis, [step], largest=largest)
        last = Round(folder, written, analysis.record.doubt)
        if last.doubt or not written.written:
            break
        given = folder / PLAN_FILE
    return last


def round_folders(last: Path, before: Path, rounds: int) -> list[Path]:
    """Where each round lies: the last by itself, those before it as 01, 02 and so on."""
    return [*(before / f"{number:02}" for number in range(1, rounds)), last]
