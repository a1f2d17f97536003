"""`gp report`: artifacts as one page to read, to print and to send."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from globalprune.cli import console, options

if TYPE_CHECKING:
    from globalprune.report.blocks import Page


def report(
    *,
    paths: Annotated[
        list[Path],
        typer.Argument(
            metavar="DIR|PLAN|OUT...",
            help="What gp analyze, plan, apply, prune, finetune, eval -o or sweep wrote.",
            show_default=False,
        ),
    ],
    out: Annotated[
        Path,
        typer.Option("--out", "-o", metavar="FILE", help="The page to write; it is replaced."),
    ] = Path("report.html"),
    title: Annotated[
        str, typer.Option(metavar="TEXT", help="The page's title.")
    ] = "globalprune report",
    as_json: options.AsJson = False,
) -> None:
    """Put analyses, plans, results, evaluations and sweeps into one HTML page, each its section.

    The page is one file that needs nothing else: no script, no network. Pictures are drawn where
    matplotlib is installed (the extra `report`); without it the page has all tables. The same
    artifacts give the same file.

    Example:  gp report analysis smaller judged -o report.html
    """
    from globalprune.artifacts.writer_lock import writer_lock
    from globalprune.report.page import write_report

    paths = [path.expanduser() for path in paths]
    out = out.expanduser()
    with writer_lock(out):
        page = write_report(paths, out, title=title, note=console.note)
    if as_json:
        console.print_json(_document(page, out))
    else:
        console.print_text("\n".join(_lines(page, out)))


def _lines(page: "Page", out: Path) -> list[str]:
    """Return lines that say what the page holds."""
    held = [
        f"  {section.name}: {', '.join(part.kind for part in section.subsections)}"
        for section in page.sections
    ]
    return [str(out), *held]


def _document(page: "Page", out: Path) -> dict[str, Any]:
    """The same for a program."""
    return {
        "report": str(out),
        "title": page.title,
        "sections": [
            {"name": section.name, "holds": [part.kind for part in section.subsections]}
            for section in page.sections
        ],
    }
