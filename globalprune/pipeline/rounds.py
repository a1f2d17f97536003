"""Measures and plans in rounds: each round scores what the plan of the one before leaves standing.

Every round is an analysis folder with its plan, as `gp analyze --given` and `gp plan` would make
it. Indices name groups of the original throughout, and the last plan alone says what is cut.
"""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from globalprune.artifacts.analyses.analysis_folder import read_analysis
from globalprune.artifacts.analyses.analysis_record import ANALYSIS_FILE
from globalprune.artifacts.plans.plan_file import PLAN_FILE
from globalprune.planning.writing import WrittenPlan, write_plans

if TYPE_CHECKING:
    from globalprune.artifacts.analyses.analysis_record import AnalysisRecord

Measure = Callable[[Path, Path | None], "AnalysisRecord"]  # folder to write, plan that is given


def plan_in_rounds(
    measure: Measure, folders: list[Path], ratio: float, *, largest: bool = False
) -> WrittenPlan:
    """Run a round in each folder, in even steps to the ratio; return the last plan.

    A folder whose analysis is there was run before, and is only planned anew. The first plan that
    can't be written, because its ratio can't be reached, is the last one.
    """
    given = None
    for number, folder in enumerate(folders, start=1):
        if not (folder / ANALYSIS_FILE).is_file():
            measure(folder, given)
        step = ratio * number / len(folders)
        (written,) = write_plans(read_analysis(folder), [step], largest=largest)
        if not written.written:
            break
        given = folder / PLAN_FILE
    return written


def round_folders(last: Path, before: Path, rounds: int) -> list[Path]:
    """Where each round lies: the last by itself, those before it as 01, 02 and so on."""
    return [*(before / f"{number:02}" for number in range(1, rounds)), last]
