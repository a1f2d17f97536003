"""What a path given to gp report is, and what is read from it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from globalprune.artifacts.analyses.analysis import (
    ANALYSIS_FILE,
    Analysis,
    AnalysisRecord,
    read_analysis,
    read_analysis_record,
)
from globalprune.artifacts.analyses.group_table import GroupTable
from globalprune.artifacts.analyses.group_table_file import TABLE_FILE
from globalprune.artifacts.analyses.loss_curves import CURVES_FILE, Curves, read_curves
from globalprune.artifacts.evaluations.evaluation_table import EVALUATION_FILE
from globalprune.artifacts.evaluations.sweep import SWEEP_FILE
from globalprune.artifacts.plans.plan import PrunePlan
from globalprune.artifacts.plans.plan_file import open_plan
from globalprune.artifacts.plans.plan_summary import find_analysis
from globalprune.artifacts.records import RECORDS_FOLDER
from globalprune.artifacts.results.cut import METRICS_FILE
from globalprune.artifacts.results.finetuning import FINETUNE_FILE
from globalprune.errors import UsageError

InputKind = Literal["plan", "result", "records"]
_PLAN_SUFFIXES: Final = (".yaml", ".yml")
_RESULT_FILES: Final = (METRICS_FILE, FINETUNE_FILE)
_RECORD_FILES: Final = (ANALYSIS_FILE, EVALUATION_FILE, SWEEP_FILE)
_REMEDY: Final = (
    "name a plan (.yaml), or a folder that gp analyze, gp apply, gp prune, gp finetune, "
    "gp eval -o or gp sweep wrote."
)


@dataclass(frozen=True)
class ReportInput:
    """A path that was given, and the file or the folder of records that is read for it."""

    path: Path
    kind: InputKind
    location: Path


@dataclass(frozen=True)
class AnalysisInput:
    """An analysis; a result that gp apply wrote holds its record alone."""

    record: AnalysisRecord
    analysis: Analysis | None
    curves: Curves | None

    @property
    def table(self) -> GroupTable | None:
        """Return the table, if there is one."""
        return self.analysis.table if self.analysis else None


@dataclass(frozen=True)
class PlanInput:
    """A plan; without a `record` no sizes are known, and a record may come without its table."""

    plan: PrunePlan
    record: AnalysisRecord | None
    analysis: Analysis | None
    warning: str = ""


def find_input(path: Path) -> ReportInput:
    """Find out what a path is; raise `UsageError` where it holds nothing to report."""
    if path.is_file():
        if path.suffix in _PLAN_SUFFIXES:
            return ReportInput(path, "plan", path)
        remedy = _REMEDY
        if path.name in (*_RECORD_FILES, *_RESULT_FILES):
            remedy = f"name the folder that it lies in, {path.parent}."
        raise UsageError(f"{path}: is a file and no plan; {remedy}")
    if not path.is_dir():
        raise UsageError(f"{path}: there is no such file or folder; {_REMEDY}")
    for folder in (path / RECORDS_FOLDER, path):
        if any((folder / name).is_file() for name in _RESULT_FILES):
            return ReportInput(path, "result", folder)
    if any((path / name).is_file() for name in _RECORD_FILES):
        return ReportInput(path, "records", path)
    raise UsageError(
        f"{path}: holds none of {', '.join(_RECORD_FILES)}, {RECORDS_FOLDER}/{METRICS_FILE} and "
        f"{RECORDS_FOLDER}/{FINETUNE_FILE}; {_REMEDY}"
    )


def display_names(paths: list[Path]) -> list[str]:
    """Return the last parts of each path, as many as tell it from the other paths.

    So a page names no more of where the files lie than it has to.
    """
    parts = [path.resolve().parts for path in paths]
    names = []
    for own in parts:
        others = [other for other in parts if other != own]
        length = next(
            (
                length
                for length in range(1, len(own))
                if all(other[-length:] != own[-length:] for other in others)
            ),
            len(own),
        )
        names.append(str(Path(*own[-length:])))
    return names


def read_analysis_input(folder: Path, *, record_suffices: bool = False) -> AnalysisInput:
    """Read an analysis; its table may be missing where its record suffices."""
    if record_suffices and not (folder / TABLE_FILE).is_file():
        return AnalysisInput(read_analysis_record(folder / ANALYSIS_FILE), None, None)
    analysis = read_analysis(folder)
    path = folder / CURVES_FILE
    curves = read_curves(path, identity=analysis.record.identity) if path.is_file() else None
    return AnalysisInput(analysis.record, analysis, curves)


def read_plan_input(path: Path) -> tuple[PlanInput, str]:
    """Read a plan with the analysis that it names; also return why that analysis is missing."""
    document = open_plan(path)
    analysis, missing = find_analysis(document.analysis, path, None)
    if analysis is None:
        warning = (
            "Its analysis is not at hand (analysis.path in the plan says where it is looked for), "
            "so what it removes of how much is not known."
        )
        return PlanInput(document.plan(), None, None, warning), missing
    return PlanInput(document.plan(analysis.record.structure), analysis.record, analysis), ""


def read_result_plan(path: Path, measured: AnalysisInput | None) -> PlanInput:
    """Read the plan that a result was cut by; the table beside it is used if it is the plan's."""
    document = open_plan(path)
    if measured is None:
        warning = "No analysis lies beside it, so only the cut says what it removes of how much."
        return PlanInput(document.plan(), None, None, warning)
    plan, analysis = document.plan(measured.record.structure), measured.analysis
    if plan.analysis is not None and plan.analysis.table != measured.record.table:
        analysis = None
    return PlanInput(plan, measured.record, analysis)
