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
from globalprune.artifacts.analyses.group_table_file import TABLE_FILE
from globalprune.artifacts.analyses.loss_curves import CURVES_FILE, Curves, read_curves
from globalprune.artifacts.evaluations.evaluation_files import EVALUATION_FILE
from globalprune.artifacts.evaluations.sweep import SWEEP_FILE
from globalprune.artifacts.plans.plan import PrunePlan
from globalprune.artifacts.plans.plan_file import open_plan
from globalprune.artifacts.plans.plan_summary import find_analysis
from globalprune.artifacts.records import OWN_FOLDER
from globalprune.artifacts.results.finetuning import FINETUNE_FILE
from globalprune.artifacts.results.metrics import METRICS_FILE
from globalprune.errors import UsageError

InputKind = Literal["plan", "result", "records"]
_PLANS: Final = (".yaml", ".yml")
_OF_RESULTS: Final = (METRICS_FILE, FINETUNE_FILE)
_RECORDS: Final = (ANALYSIS_FILE, EVALUATION_FILE, SWEEP_FILE)
_TO_NAME: Final = (
    "name a plan (.yaml), or a folder that gp analyze, gp apply, gp prune, gp finetune, "
    "gp eval -o or gp sweep wrote."
)


@dataclass(frozen=True)
class ReportInput:
    """A path, and where what is told of it lies: a file, or a folder of records."""

    path: Path
    kind: InputKind
    place: Path


def find_input(path: Path) -> ReportInput:
    """Find out what a path is; raise `UsageError` where it is nothing to report of."""
    if path.is_file():
        if path.suffix in _PLANS:
            return ReportInput(path, "plan", path)
        remedy = _TO_NAME
        if path.name in (*_RECORDS, *_OF_RESULTS):
            remedy = f"name the folder that it lies in, {path.parent}."
        raise UsageError(f"{path}: is a file and no plan; {remedy}")
    if not path.is_dir():
        raise UsageError(f"{path}: there is no such file or folder; {_TO_NAME}")
    for folder in (path / OWN_FOLDER, path):
        if any((folder / name).is_file() for name in _OF_RESULTS):
            return ReportInput(path, "result", folder)
    if any((path / name).is_file() for name in _RECORDS):
        return ReportInput(path, "records", path)
    raise UsageError(
        f"{path}: holds none of {', '.join(_RECORDS)}, {OWN_FOLDER}/{METRICS_FILE} and "
        f"{OWN_FOLDER}/{FINETUNE_FILE}; {_TO_NAME}"
    )


def display_names(paths: list[Path]) -> list[str]:
    """What each path is called: its last part, and as much before it as tells it from the rest.

    So nothing of where the files lie enters a page that doesn't have to.
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


@dataclass(frozen=True)
class AnalysisInput:
    """What was measured; a result that gp apply wrote holds the record alone."""

    record: AnalysisRecord
    analysis: Analysis | None
    curves: Curves | None


def read_analysis_input(folder: Path, *, record_alone: bool = False) -> AnalysisInput:
    """Read what gp analyze left; the table may lack only where the record may be alone."""
    if record_alone and not (folder / TABLE_FILE).is_file():
        return AnalysisInput(read_analysis_record(folder / ANALYSIS_FILE), None, None)
    analysis = read_analysis(folder)
    path = folder / CURVES_FILE
    curves = read_curves(path, identity=analysis.record.identity) if path.is_file() else None
    return AnalysisInput(analysis.record, analysis, curves)


@dataclass(frozen=True)
class PlanInput:
    """Without a `record` no sizes are known; a record may come without its table."""

    plan: PrunePlan
    record: AnalysisRecord | None
    analysis: Analysis | None
    doubt: str = ""


def read_plan_input(path: Path) -> tuple[PlanInput, str]:
    """The plan in a file with the analysis that it names; and why that one is not at hand."""
    document = open_plan(path)
    analysis, missing = find_analysis(document.analysis, path, None)
    if analysis is None:
        doubt = (
            "Its analysis is not at hand (analysis.path in the plan says where it is looked for), "
            "so what it removes of how much is not known."
        )
        return PlanInput(document.plan(), None, None, doubt), missing
    return PlanInput(document.plan(analysis.record.structure), analysis.record, analysis), ""


def read_result_plan(path: Path, measured: AnalysisInput | None) -> PlanInput:
    """The plan of a result, as it was applied; the table beside it counts if it is its own."""
    document = open_plan(path)
    if measured is None:
        doubt = "No analysis lies beside it, so what it removes of how much is told by the cut."
        return PlanInput(document.plan(), None, None, doubt)
    plan, analysis = document.plan(measured.record.structure), measured.analysis
    if plan.analysis is not None and plan.analysis.table != measured.record.table:
        analysis = None
    return PlanInput(plan, measured.record, analysis)
