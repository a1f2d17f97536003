"""gp prune: analyses and plans in rounds, then the cut and the phases after it."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from globalprune.artifacts.analyses.analysis import ANALYSIS_FILE, read_analysis
from globalprune.artifacts.analyses.group_table_file import TABLE_FILE
from globalprune.artifacts.analyses.loss_curves import CURVES_FILE
from globalprune.artifacts.disk import refuse_occupied
from globalprune.artifacts.own_files import ANALYZE_LOG, ROUNDS_FOLDER
from globalprune.artifacts.plans.budgets import refuse_bad_ratio
from globalprune.artifacts.plans.plan_file import PLAN_FILE, read_plan_file
from globalprune.artifacts.records import format_command
from globalprune.artifacts.run_folder import RunFolder
from globalprune.artifacts.staging import move_into_place
from globalprune.errors import AnalysisDoubted, BudgetError
from globalprune.options import PlanOptions, PruneOptions
from globalprune.pipeline.analyze import candidates_at
from globalprune.pipeline.apply import PruneResult, check_cut, run_identity, run_stages
from globalprune.pipeline.preflight import (
    Texts,
    read_later_texts,
    refuse_later_phases,
    text_digests,
)
from globalprune.planning.planner import PlanResult
from globalprune.planning.write import write_plans
from globalprune.progress import SILENT, Progress, Reporter

if TYPE_CHECKING:
    from globalprune.models.prepared_model import PreparedModel
    from globalprune.text.calibration import CalibrationText

_FURTHER_RECORDS: Final = (TABLE_FILE, CURVES_FILE, ANALYZE_LOG)  # that the result keeps


def refuse_unwritten(written: PlanResult) -> None:
    """Raise `BudgetError` for a plan that was not written, since its ratio can't be reached."""
    if not written.written:
        reason = written.reachable_text or " ".join(written.violations)
        raise BudgetError(
            f"{written.path}: the ratio can't be reached ({reason}); ask for no more than that, or "
            "for the largest plan."
        )


def prune_model(
    model: "PreparedModel",
    out: Path,
    options: PruneOptions,
    *,
    on_plan: Callable[[PlanResult], None] = refuse_unwritten,
    reporter: Reporter = SILENT,
) -> PruneResult:
    """Analyze, plan, cut, finetune and evaluate into `out`.

    `on_plan` is called with the plan before the cut, and may raise to stop there; the analysis then
    stays in OUT.unfinished. Raise `AnalysisDoubted` instead of cutting by a plan whose trial
    failed; the plan and its analysis are then in OUT.analysis.
    """
    refuse_bad_ratio(options.ratio)
    refuse_later_phases(options.apply_options())
    _refuse_place(model, out, options)
    work = RunFolder.beside(out)
    work.refuse_unfinished(resume=options.resume, overwrite=options.overwrite)
    text, texts = _read_texts(model, options, reporter.progress)
    work.begin(_identity(model, options, reporter.progress), resume=options.resume)
    with work.removed_if_empty():
        analysis, before = work.folder / "analysis", work.folder / ROUNDS_FOLDER
        folders = round_folders(analysis, before, options.recipe.rounds)
        last = plan_in_rounds(model, text, folders, options, reporter)
        if last.doubt is not None:
            place = _keep(last.folder, before, out, replace=options.overwrite)
            work.remove()
            raise AnalysisDoubted(_stopped(last.doubt, place, model, out, options))
        on_plan(last.plan)
        plan = read_plan_file(analysis / PLAN_FILE, model.structure)
        job = check_cut(model, plan, out, options.apply_options(analysis), texts, reporter=reporter)
        result = run_stages(
            job,
            work.subfolder("cut and recover"),
            [*_further_records(analysis), before],
            reporter=reporter,
        )
    work.remove()
    return result


@dataclass(frozen=True)
class Round:
    """An analysis with its plan, and why it is doubted, if it is."""

    folder: Path
    plan: PlanResult
    doubt: str | None


def plan_in_rounds(
    model: "PreparedModel",
    text: "CalibrationText",
    folders: list[Path],
    options: PruneOptions,
    reporter: Reporter,
) -> Round:
    """Run a round in each folder, in even steps to the ratio; return the last.

    A folder that holds an analysis is only planned anew. The rounds end early with a plan that
    can't reach its ratio, and with an analysis that is doubted.
    """
    prior_plan = None
    for number, folder in enumerate(folders, start=1):
        step = options.ratio * number / len(folders)
        if not (folder / ANALYSIS_FILE).is_file():
            from globalprune.analysis.analyzer import analyze_model

            analyze_model(
                model,
                folder,
                options.analyze_options(step, prior_plan),
                text=text,
                candidates=candidates_at(step),
                reporter=reporter,
            )
        analysis = read_analysis(folder)
        (written,) = write_plans(analysis, PlanOptions((step,), largest=options.largest))
        last = Round(folder, written, analysis.record.doubt)
        if last.doubt or not written.written:
            break
        prior_plan = folder / PLAN_FILE
    return last


def round_folders(last: Path, before: Path, rounds: int) -> list[Path]:
    """Return the folder of each round: `last`, and 01, 02 and so on in `before` for the others."""
    return [*(before / f"{number:02}" for number in range(1, rounds)), last]


def _read_texts(
    model: "PreparedModel", options: PruneOptions, progress: Progress
) -> "tuple[CalibrationText, Texts]":
    """Read every text of the run; raise now for text that a later phase would refuse."""
    from globalprune.analysis.analyzer import read_text
    from globalprune.surgery.compensated_cut import check_compensation

    applying = options.apply_options()
    check_compensation(applying)
    text = read_text(
        model, options.analyze_options(options.ratio, None), trying=True, progress=progress
    )
    check_compensation(applying, text.windows)
    later = read_later_texts(model, applying, progress)
    compensation = text.windows if applying.compensation else None
    return text, Texts(compensation, later.training, later.evaluation)


def _analysis_place(out: Path) -> Path:
    """Return the place of an analysis that is doubted and that nothing is cut by."""
    place = out.resolve()
    return place.with_name(f"{place.name}.analysis")


def _keep(folder: Path, rounds: Path, out: Path, *, replace: bool) -> Path:
    """Move a doubted analysis, its plan and the earlier rounds out of the unfinished work."""
    place = _analysis_place(out)
    kept = folder.rename(rounds.with_name("doubted"))
    if rounds.is_dir():
        rounds.rename(kept / ROUNDS_FOLDER)
    move_into_place(kept, place, replace=replace)
    return place


def _stopped(
    doubt: str, place: Path, model: "PreparedModel", out: Path, options: PruneOptions
) -> str:
    """Return a message: nothing is cut, and how to plan anew or to cut all the same."""
    apply = ("gp", "apply", model.name, "--plan", str(place / PLAN_FILE), "-o", str(out))
    compensate = ("--compensate",) if options.recipe.compensate else ()
    return (
        f"{doubt}\nNothing was cut; the analysis and its plan are in {place}. Plan otherwise with "
        f"{format_command(('gp', 'plan', str(place)))}, or cut by it all the same with "
        f"{format_command((*apply, *compensate))}"
    )


def _further_records(analysis: Path) -> list[Path]:
    """Return the files of the last analysis that the result keeps."""
    return [path for name in _FURTHER_RECORDS if (path := analysis / name).is_file()]


def _refuse_place(model: "PreparedModel", out: Path, options: PruneOptions) -> None:
    """Raise `UsageError` for an OUT that the last phase would refuse."""
    from globalprune.models.checkpoints.output_folder import refuse_unsafe_output

    refuse_unsafe_output(out, [model.source], needed_bytes=0, overwrite=options.overwrite)
    refuse_occupied(_analysis_place(out), ours=[ANALYSIS_FILE], overwrite=options.overwrite)


def _identity(model: "PreparedModel", options: PruneOptions, progress: Progress) -> dict[str, Any]:
    """Return what an interrupted run must share with this one to be resumed."""
    return {
        **run_identity(model, options.apply_options(), progress),
        "ratio": options.ratio,
        "rounds": options.recipe.rounds,
        "text": text_digests([options.data]).get(options.data or ""),
        "data": options.data,
        "samples": options.samples,
        "seq_len": options.seq_len,
        "seed": options.seed,
        "importance": options.recipe.importance,
    }
