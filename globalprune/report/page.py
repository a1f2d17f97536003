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
from globalprune.artifacts.evaluations.evaluation_table import EVALUATION_FILE, read_evaluation
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

TITLE: Final = "globalprune report"
_TEMPLATE: Final = "page.html.jinja"
_STYLE: Final = "page.css"
_SUFFIXES: Final = (".html", ".htm")
_OVERVIEW_HEAD: Final = ("", "what", "parameters", "removed", "perplexity", "judged on")
_LEAST_ROWS: Final = 2  # of an overview


def write_report(
    paths: Sequence[Path], out: Path, *, title: str = TITLE, note: Callable[[str], None]
) -> Page:
    """Write the page of what lies at these paths, whole or not at all, and return it.

    `note` receives what is missing. Raise `UsageError` for a path that holds nothing to report, and
    for an `out` that is no name of a web page; `ArtifactError` for a file that can't be read.
    """
    if out.suffix.lower() not in _SUFFIXES:
        raise UsageError(f"-o {out}: is no name of a web page; name a .html file.")
    refuse_unwritable_file(out)
    inputs = [find_input(path) for path in {path.resolve(): path for path in paths}.values()]
    names = display_names([one.path for one in inputs])
    sections = (read_section(one, name, note) for one, name in zip(inputs, names, strict=True))
    page = Page(title, tuple(sections))
    if not can_draw():
        note(f"no pictures: {MISSING}")
    write_atomically(out, render_page(page))
    return page


def read_section(given: ReportInput, name: str, note: Callable[[str], None]) -> Section:
    """The section of one path; `note` receives what a person at the terminal may want to mend."""
    match given.kind:
        case "plan":
            plan, missing = read_plan_input(given.location)
            if missing:
                note(missing)
            subsection, overview = plan_subsection(plan)
            return Section(name, (subsection,), overview)
        case "result":
            return result_section(given.location, name)
        case "records":
            return _records_section(given.location, name)


def overview_table(page: Page) -> Table | None:
    """Return a row for every plan, result and evaluated model; None where there is only one."""
    rows = tuple(
        (section.name, one.what, one.parameters, one.removed, one.perplexity, one.evaluated_on)
        for section in page.sections
        for one in section.overview
    )
    return Table(_OVERVIEW_HEAD, rows) if len(rows) >= _LEAST_ROWS else None


def perplexities_comparable(page: Page) -> bool:
    """Return whether all perplexities of the overview are of the same windows of text."""
    windows = {
        one.windows for section in page.sections for one in section.overview if one.windows
    }  # fmt: skip
    return len(windows) <= 1


def render_page(page: Page) -> str:
    """Return the page as HTML; equal pages give equal text."""
    own = files("globalprune.report")
    environment = Environment(
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_printable,
    )
    numbers = count(1)
    environment.filters["drawn"] = lambda svg: Markup(with_unique_ids(svg, f"p{next(numbers)}"))  # noqa: S704 - our own drawing, escaped by matplotlib
    template = environment.from_string(own.joinpath(_TEMPLATE).read_text(encoding="utf-8"))
    return template.render(
        page=page,
        style=Markup(own.joinpath(_STYLE).read_text(encoding="utf-8")),  # noqa: S704 - a file of ours
        overview=overview_table(page),
        comparable=perplexities_comparable(page),
        missing=None if can_draw() else MISSING,
    )


def _records_section(folder: Path, name: str) -> Section:
    """The section of an analysis, an evaluation and a sweep, as far as they lie in one folder."""
    subsections: list[Subsection] = []
    overview: tuple[OverviewRow, ...] = ()
    if (folder / ANALYSIS_FILE).is_file():
        analysis = read_analysis_input(folder)
        subsections.append(analysis_subsection(analysis.record, analysis.table, analysis.curves))
    if (folder / EVALUATION_FILE).is_file():
        comparison = read_evaluation(folder / EVALUATION_FILE)
        subsections.append(evaluation_subsection(comparison))
        overview = evaluation_overview(comparison)
    if (folder / SWEEP_FILE).is_file():
        subsections.append(sweep_subsection(read_sweep(folder / SWEEP_FILE)))
    return Section(name, tuple(subsections), overview)


def _printable(value: Any) -> Any:
    """Text as a page may hold it; drawings and styles, which are ours, as they are."""
    return printable_lines(value) if type(value) is str else value
