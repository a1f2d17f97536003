"""The first table of a page that holds several models: each in a line."""

from typing import Final

from globalprune.report.content import Page, Table

_HEAD: Final = ("", "what", "parameters", "removed", "perplexity", "judged on")
_FEWEST: Final = 2  # rows that are worth a table


def glance_table(page: Page) -> Table | None:
    """A row for every plan, result and judged model; None where there is nothing to compare."""
    rows = tuple(
        (section.name, one.what, one.parameters, one.removed, one.perplexity, one.judged_on)
        for section in page.sections
        for one in section.glances
    )
    return Table(_HEAD, rows) if len(rows) >= _FEWEST else None


def comparable(page: Page) -> bool:
    """Whether all perplexities of the table are of the same windows of text."""
    windows = {
        one.windows for section in page.sections for one in section.glances if one.windows
    }  # fmt: skip
    return len(windows) <= 1
