"""Renders a report: one HTML page that needs nothing but itself, and opens from disk.

No script, no font and no picture from elsewhere; all text from artifacts is escaped.
"""

from collections.abc import Callable, Sequence
from importlib.resources import files
from itertools import count
from pathlib import Path
from typing import Any, Final

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from globalprune.artifacts.disk import refuse_impossible, write_atomically
from globalprune.errors import UsageError
from globalprune.printable import printable_lines
from globalprune.report.content import Page
from globalprune.report.drawing import MISSING, can_draw, with_own_ids
from globalprune.report.found import found_at, names_of
from globalprune.report.glance import comparable, glance_table
from globalprune.report.sections import section_of

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
    refuse_impossible(out)
    found = [found_at(path) for path in {path.resolve(): path for path in paths}.values()]
    names = names_of([one.path for one in found])
    sections = (section_of(one, name, note) for one, name in zip(found, names, strict=True))
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
    environment.filters["drawn"] = lambda svg: Markup(with_own_ids(svg, f"p{next(numbers)}"))  # noqa: S704 - our own drawing, escaped by matplotlib
    template = environment.from_string(own.joinpath(_TEMPLATE).read_text(encoding="utf-8"))
    return template.render(
        page=page,
        style=Markup(own.joinpath(_STYLE).read_text(encoding="utf-8")),  # noqa: S704 - a file of ours
        glance=glance_table(page),
        comparable=comparable(page),
        missing=None if can_draw() else MISSING,
    )
