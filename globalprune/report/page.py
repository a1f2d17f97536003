"""The HTML page: sections, an overview table, and the rendering."""

from collections.abc import Callable, Sequence
from importlib.resources import files
from itertools import count
from pathlib import Path
from typing import Any, Final

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from globalprune.artifacts.analyses.analysis import ANALYSIS_FILE
from globalprune.artifacts.disk import refuse_unwritable_file, write_atomically
from globalprune.artifacts.evaluations.evaluation_files import EVALUATION_FILE, read_evaluation
from globalprune.artifacts.evaluations.sweep import SWEEP_FILE, read_sweep
from globalprune.errors import UsageError
from globalprune.printable import printable_lines
from globalprune.report.analysis import analysis_subsection
from globalprune.report.blocks import OverviewRow, Page, Section, Subsection, Table
from globalprune.report.drawing import MISSING, can_draw, with_unique_ids
from globalprune.report.evaluation import (
    evaluation_overview,
    evaluation_subsection,
    sweep_subsection,
)
from globalprune.report.inputs import (
    ReportInput,
    display_names,
    find_input,
    read_analysis_input,
    read_plan_input,
)
from globalprune.report.plan import plan_subsection
from globalprune.report.result import result_section

_HEAD: Final = ("", "what", "parameters", "removed", "perplexity", "judged on")
_FEWEST: Final = 2  # rows that are worth a table


def overview_table(page: Page) -> Table | None:
    """A row for every plan, result and judged model; None where there is nothing to compare."""
    rows = tuple(
        (section.name, one.what, one.parameters, one.removed, one.perplexity, one.judged_on)
        for section in page.sections
        for one in section.glances
    )
    return Table(_HEAD, rows) if len(rows) >= _FEWEST else None


def perplexities_comparable(page: Page) -> bool:
    """Whether all perplexities of the table are of the same windows of text."""
    windows = {
        one.windows for section in page.sections for one in section.glances if one.windows
    }  # fmt: skip
    return len(windows) <= 1


def read_section(found: ReportInput, name: str, note: Callable[[str], None]) -> Section:
    """All that one path holds; `note` is told what a person at the terminal may want to mend."""
    match found.kind:
        case "plan":
            known, missing = read_plan_input(found.place)
            if missing:
                note(missing)
            part, glances = plan_subsection(known)
            return Section(name, (part,), glances)
        case "result":
            return result_section(found.place, name)
        case "records":
            return _records(found.place, name)


def _records(folder: Path, name: str) -> Section:
    """An analysis, an evaluation and a sweep, as far as they lie in one folder."""
    parts: list[Subsection] = []
    glances: tuple[OverviewRow, ...] = ()
    if (folder / ANALYSIS_FILE).is_file():
        measured = read_analysis_input(folder)
        table = measured.analysis.table if measured.analysis else None
        parts.append(analysis_subsection(measured.record, table, measured.curves))
    if (folder / EVALUATION_FILE).is_file():
        comparison = read_evaluation(folder / EVALUATION_FILE)
        parts.append(evaluation_subsection(comparison))
        glances = evaluation_overview(comparison)
    if (folder / SWEEP_FILE).is_file():
        parts.append(sweep_subsection(read_sweep(folder / SWEEP_FILE)))
    return Section(name, tuple(parts), glances)


TITLE: Final = "globalprune report"
_TEMPLATE: Final = "page.html.jinja"
_STYLE: Final = "page.css"
_SUFFIXES: Final = (".html", ".htm")


def write_report(
    paths: Sequence[Path], out: Path, *, title: str = TITLE, note: Callable[[str], None]
) -> Page:
    """Write the page of what lies at these paths, whole or not at all, and hand it back.

    `note` is told what is missing. Raise `UsageError` for a path that is nothing to report of, and
    for an `out` that is no name of a web page; `ArtifactError` for a file that can't be read.
    """
    if out.suffix.lower() not in _SUFFIXES:
        raise UsageError(f"-o {out}: is no name of a web page; name a .html file.")
    refuse_unwritable_file(out)
    found = [find_input(path) for path in {path.resolve(): path for path in paths}.values()]
    names = display_names([one.path for one in found])
    sections = (read_section(one, name, note) for one, name in zip(found, names, strict=True))
    page = Page(title, tuple(sections))
    if not can_draw():
        note(f"no pictures: {MISSING}")
    write_atomically(out, render(page))
    return page


def _shown(value: Any) -> Any:
    """Text as a page may hold it; what is drawn or styled is ours."""
    return printable_lines(value) if type(value) is str else value


def render(page: Page) -> str:
    """The page as HTML; equal pages give equal text."""
    own = files("globalprune.report")
    environment = Environment(
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_shown,
    )
    numbers = count(1)
    environment.filters["drawn"] = lambda svg: Markup(with_unique_ids(svg, f"p{next(numbers)}"))  # noqa: S704 - our own drawing, escaped by matplotlib
    template = environment.from_string(own.joinpath(_TEMPLATE).read_text(encoding="utf-8"))
    return template.render(
        page=page,
        style=Markup(own.joinpath(_STYLE).read_text(encoding="utf-8")),  # noqa: S704 - a file of ours
        glance=overview_table(page),
        comparable=perplexities_comparable(page),
        missing=None if can_draw() else MISSING,
    )
