"""gp prune and gp analyze --ratio: analysis, plans in rounds, and the whole run."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from globalprune.artifacts.analyses.analysis import ANALYSIS_FILE, read_analysis
from globalprune.artifacts.analyses.group_table_file import TABLE_FILE
from globalprune.artifacts.analyses.loss_curves import CURVES_FILE
from globalprune.artifacts.command import format_command
from globalprune.artifacts.disk import refuse_occupied
from globalprune.artifacts.own_files import ANALYSIS_MARKERS, ANALYZE_LOG, ROUNDS_FOLDER
from globalprune.artifacts.plans.budgets import refuse_bad_ratio
from globalprune.artifacts.plans.plan_file import PLAN_FILE, existing_plan
from globalprune.artifacts.run_folder import RunFolder
from globalprune.artifacts.staging import move_into_place
from globalprune.errors import AnalysisDoubted
from globalprune.pipeline.cut import Outcome, cut_and_recover
from globalprune.pipeline.options import Cutting, Recovery
from globalprune.pipeline.preflight import (
    refuse_compensation,
    refuse_later_phases,
    refuse_unusable_texts,
    text_digests,
)
from globalprune.pipeline.trial import candidates_at
from globalprune.planning.options import plan_paths
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


_LEFT_BEHIND = (TABLE_FILE, CURVES_FILE, ANALYZE_LOG)  # beside what the cut itself keeps


@dataclass(frozen=True)
class Recipe:
    """What is asked of every phase."""

    ratio: float
    measuring: dict[str, Any]  # what decides what is measured, for telling one run from another
    rounds: int = 1
    recovery: Recovery | None = None
    evaluate: str | None = None
    largest: bool = False  # whether the largest plan will do where the ratio can't be reached


def prune_model(
    measure: Measure,
    recipe: Recipe,
    cutting: Cutting,
    *,
    show_plan: Callable[[WrittenPlan], None],
) -> Outcome:
    """Run every phase of the recipe into `cutting.out`.

    `measure` writes an analysis into a folder, of what a plan leaves where one is given.
    `show_plan` is told of the plan before it is applied, and may stop the work by raising; the
    analysis then stays to be gone on from. Raise `AnalysisDoubted` instead of cutting by a plan
    whose trial failed; it lies with its analysis in OUT.analysis then.
    """
    refuse_bad_ratio(recipe.ratio)
    refuse_later_phases(cutting, recipe.recovery, recipe.evaluate)
    _refuse_place(cutting)
    refuse_occupied(_analysis_place(cutting), ours=[ANALYSIS_FILE], overwrite=cutting.overwrite)
    refuse_compensation(cutting)
    refuse_unusable_texts(cutting, recipe.recovery, recipe.evaluate)
    work = RunFolder.beside(cutting.out)
    work.refuse_unfinished(resume=cutting.resume, overwrite=cutting.overwrite)
    work.begin(_identity(recipe, cutting), resume=cutting.resume)
    with work.removed_if_empty():
        analysis, before = work.folder / "analysis", work.folder / ROUNDS_FOLDER
        folders = round_folders(analysis, before, recipe.rounds)
        last = plan_in_rounds(measure, folders, recipe.ratio, largest=recipe.largest)
        if last.doubt is None:
            show_plan(last.plan)
        else:
            place = _keep(last.folder, before, cutting)
            work.remove()
            raise AnalysisDoubted(_stopped(last.doubt, place, cutting))
        outcome = cut_and_recover(
            replace(cutting, analysis=analysis),
            analysis / PLAN_FILE,
            recovery=recipe.recovery,
            evaluate=recipe.evaluate,
            work=work.subfolder("cut and recover"),
            leave_behind=[*_left_behind(analysis), before],
        )
    work.remove()
    return outcome


def _analysis_place(cutting: Cutting) -> Path:
    """Where an analysis goes that is doubted, and by which nothing is cut."""
    out = cutting.out.resolve()
    return out.with_name(f"{out.name}.analysis")


def _keep(folder: Path, rounds: Path, cutting: Cutting) -> Path:
    """Move a doubted analysis, its plan, and the rounds before it, out of the unfinished work."""
    place = _analysis_place(cutting)
    kept = folder.rename(rounds.with_name("doubted"))
    if rounds.is_dir():
        rounds.rename(kept / ROUNDS_FOLDER)
    move_into_place(kept, place, replace=cutting.overwrite)
    return place


def _stopped(doubt: str, place: Path, cutting: Cutting) -> str:
    """Say that nothing was cut, and how to go on with either."""
    apply = ("gp", "apply", cutting.model, "--plan", str(place / PLAN_FILE), "-o", str(cutting.out))
    repaired = ("--compensate",) if cutting.compensation else ()
    return (
        f"{doubt}\nNothing was cut; the analysis and its plan are in {place}. Plan otherwise with "
        f"{format_command(('gp', 'plan', str(place)))}, or cut by it all the same with "
        f"{format_command((*apply, *repaired))}"
    )


def _left_behind(analysis: Path) -> list[Path]:
    """The files of the last analysis that the result keeps, as far as there are such."""
    return [path for name in _LEFT_BEHIND if (path := analysis / name).is_file()]


def _refuse_place(cutting: Cutting) -> None:
    """Refuse an OUT that the last phase would refuse, before the first begins."""
    from globalprune.models.checkpoints.output_folder import refuse_unsafe_output
    from globalprune.models.sources.source import resolve_model

    model = resolve_model(cutting.model)
    refuse_unsafe_output(cutting.out, [model], needed_bytes=0, overwrite=cutting.overwrite)


def _identity(recipe: Recipe, cutting: Cutting) -> dict[str, Any]:
    """What makes two starts the same run."""
    data = recipe.measuring["data"]
    return {
        **cutting.identity(),
        "ratio": recipe.ratio,
        "rounds": recipe.rounds,
        "text": text_digests([data]).get(data),
        **recipe.measuring,
    }


def analyze_and_plan(
    analyze_into: "Callable[[Path, Candidates], AnalysisRecord]",
    out: Path,
    ratio: float,
    *,
    resume: bool,
    overwrite: bool,
    largest: bool = False,
) -> "tuple[AnalysisRecord, WrittenPlan]":
    """Write the analysis, which tries its plan, then the plan; if that fails, the analysis stays.

    A ratio that can't be reached leaves no plan, unless the `largest` one will do.
    """
    refuse_bad_ratio(ratio)
    refuse_occupied(out, ours=ANALYSIS_MARKERS, overwrite=overwrite)
    RunFolder.beside(out).refuse_unfinished(resume=resume, overwrite=overwrite)
    for place in plan_paths(out, [ratio], None).values():
        existing_plan(place, overwrite=overwrite)
    record = analyze_into(out, candidates_at(ratio))
    (written,) = write_plans(read_analysis(out), [ratio], overwrite=overwrite, largest=largest)
    return record, written
