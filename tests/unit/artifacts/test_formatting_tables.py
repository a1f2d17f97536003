"""Tables for programs and for people."""

from globalprune.artifacts.formatting import csv_text, markdown_table


def test_numbers_are_whole_and_nothing_is_an_empty_cell_in_csv() -> None:
    """A reader gets every digit back."""
    text = csv_text(("name", "value"), [("a, b", 0.1 + 0.2), (None, 3)])
    assert text == 'name,value\n"a, b",0.30000000000000004\n,3\n'


def test_figures_stand_to_the_right_in_markdown() -> None:
    """The first column names the rows and has no name of its own."""
    assert markdown_table(("", "a", "b"), [("x", "1", "2"), ("", "3", "")]) == [
        "| | a | b |",
        "| --- | ---: | ---: |",
        "| x | 1 | 2 |",
        "| | 3 |  |",
    ]
