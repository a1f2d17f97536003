"""A page stands alone, escapes what it is told, and is the same for the same content."""

from unittest import mock

import pytest
from web_pages import WebPage, assert_stands_alone

from globalprune.report import drawing, page
from globalprune.report.blocks import (
    Block,
    Commands,
    Facts,
    Lines,
    OverviewRow,
    Page,
    Section,
    Subsection,
    Table,
)
from globalprune.report.drawing import MISSING, draw_plot

EVIL = "<script>alert('1')</script> & \"x\""


def page_of(*sections: Section, title: str = "a title") -> Page:
    """A page of these sections."""
    return Page(title, sections)


def section(name: str = "one", *glances: OverviewRow, word: str = "word") -> Section:
    """A section with a block of every form, all saying `word`."""
    drawn = draw_plot(word, lambda figure: figure.subplots().set_title(word))
    blocks: tuple[Block, ...] = (
        Facts(((word, f"{word}\n{word}"),)),
        Facts(((word, word),), title=word),
        Table((word, word), ((word, word),)),
        Table((word, word), ((word, word),), title=word),
        Lines((word,), are_warnings=True),
        Commands((word,)),
        *drawn,
        *drawn,
    )
    return Section(name, (Subsection("analysis", word, blocks),), glances)


def test_a_page_stands_alone() -> None:
    """Two equal sections with two equal drawings each: ids differ all the same."""
    found = assert_stands_alone(page.render_page(page_of(section(), section("two"))))

    assert found.drawings == 4
    assert found.headings == ["a title", "one", "word", "two", "word"]
    assert found.tags.count("details") == 4


def test_equal_content_is_an_equal_file() -> None:
    """Drawn anew."""
    assert page.render_page(page_of(section())) == page.render_page(page_of(section()))


def test_nothing_that_is_told_becomes_html() -> None:
    """A model's name may be anything; a person reads it as it is."""
    glances = (OverviewRow(EVIL, EVIL, EVIL, EVIL, EVIL), OverviewRow("b"))
    evil = page_of(section(EVIL, *glances, word=EVIL), title=EVIL)
    found = assert_stands_alone(page.render_page(evil))

    assert found.headings[:2] == [EVIL, "At a glance"]
    assert found.facts[EVIL] == EVIL
    assert EVIL in found.tables[0][1]
    assert EVIL in found.text


def test_a_single_model_needs_no_first_table() -> None:
    """Two do."""
    assert "At a glance" not in page.render_page(page_of(section("one", OverviewRow("plan"))))
    assert "At a glance" in page.render_page(
        page_of(section("one", OverviewRow("a"), OverviewRow("b")))
    )


@pytest.mark.parametrize(("other", "said"), [("sha256:1", False), ("sha256:2", True)])
def test_perplexities_of_other_windows_are_told_apart(other: str, *, said: bool) -> None:
    """They can't be compared."""
    rows = (OverviewRow("a", windows="sha256:1"), OverviewRow("b", windows=other), OverviewRow("c"))
    found = WebPage(page.render_page(page_of(section("one", *rows))))

    assert ("can't be compared" in found.text) is said


def test_without_matplotlib_there_are_tables() -> None:
    """And the page says what would draw its pictures."""
    with (
        mock.patch.object(drawing, "can_draw", return_value=False),
        mock.patch.object(page, "can_draw", return_value=False),
    ):
        found = assert_stands_alone(page.render_page(page_of(section())))

    assert found.drawings == 0
    assert MISSING in found.text
    assert len(found.tables) == 2


def test_characters_that_act_and_mathematics_are_text_on_a_page() -> None:
    """Escapes and marks of direction are spelled; a dollar in a drawing is a dollar."""
    html = page.render_page(page_of(section(word="a\x1b[31m\u202eb $\\frac{1}{$")))

    assert "\x1b" not in html
    assert "\u202e" not in html
    assert "\\x1b[31m" in html
    assert "$\\frac{1}{$" in html
