"""The sections of a page: what each path holds, read by the one that knows its kind."""

from collections.abc import Callable
from pathlib import Path

from globalprune.artifacts.analyses.analysis import ANALYSIS_FILE
from globalprune.artifacts.evaluations.evaluation_files import EVALUATION_FILE, read_evaluation
from globalprune.artifacts.evaluations.sweep import SWEEP_FILE, read_sweep
from globalprune.report.analysis_section import analysis_part
from globalprune.report.content import Glance, Part, Section
from globalprune.report.evaluation_section import evaluation_glances, evaluation_part
from globalprune.report.found import Found
from globalprune.report.known_plan import plan_at
from globalprune.report.measured import read_measured
from globalprune.report.plan_section import plan_part
from globalprune.report.result_section import result_section
from globalprune.report.sweep_section import sweep_part


def section_of(found: Found, name: str, note: Callable[[str], None]) -> Section:
    """All that one path holds; `note` is told what a person at the terminal may want to mend."""
    match found.kind:
        case "plan":
            known, missing = plan_at(found.place)
            if missing:
                note(missing)
            part, glances = plan_part(known)
            return Section(name, (part,), glances)
        case "result":
            return result_section(found.place, name)
        case "records":
            return _records(found.place, name)


def _records(folder: Path, name: str) -> Section:
    """An analysis, an evaluation and a sweep, as far as they lie in one folder."""
    parts: list[Part] = []
    glances: tuple[Glance, ...] = ()
    if (folder / ANALYSIS_FILE).is_file():
        measured = read_measured(folder)
        table = measured.analysis.table if measured.analysis else None
        parts.append(analysis_part(measured.record, table, measured.curves))
    if (folder / EVALUATION_FILE).is_file():
        comparison = read_evaluation(folder / EVALUATION_FILE)
        parts.append(evaluation_part(comparison))
        glances = evaluation_glances(comparison)
    if (folder / SWEEP_FILE).is_file():
        parts.append(sweep_part(read_sweep(folder / SWEEP_FILE)))
    return Section(name, tuple(parts), glances)
