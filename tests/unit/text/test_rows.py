"""Which column of a table is read."""

import pytest

from globalprune.errors import TextError
from globalprune.text.rows import TO_TRAIN, Column, choose_column


@pytest.mark.parametrize(
    ("names", "column"),
    [
        (["id", "text"], Column.TEXT),
        (["input_ids", "attention_mask"], Column.INPUT_IDS),
        (["input_ids", "text"], Column.TEXT),
    ],
    ids=["text", "input_ids", "text wins"],
)
def test_the_column_is_known_by_its_name(names: list[str], column: Column) -> None:
    """Other columns are passed over; `text` is taken where both are there."""
    assert choose_column(names, "here") is column


@pytest.mark.parametrize(
    ("names", "found"),
    [(["content", "Text"], "content, Text"), ([], "none")],
    ids=["others", "no column"],
)
def test_a_table_without_either_column_is_refused(names: list[str], found: str) -> None:
    """The message lists the columns that were found and says how to name one."""
    with pytest.raises(
        TextError,
        match=rf"^here: has no column `text` or `input_ids`; found {found}\. Name the column",
    ):
        choose_column(names, "here")


def test_two_columns_of_one_name_are_refused() -> None:
    """Neither is guessed."""
    with pytest.raises(TextError, match=r"^here: has 2 columns `text`; name only one of them so"):
        choose_column(["text", "id", "text"], "here")


@pytest.mark.parametrize(
    ("names", "column"),
    [
        (["input_ids", "text", "messages"], Column.MESSAGES),
        (["text", "input_ids"], Column.TEXT),
        (["input_ids"], Column.INPUT_IDS),
    ],
    ids=["conversations", "text", "input_ids"],
)
def test_to_train_conversations_come_first(names: list[str], column: Column) -> None:
    """They say what is to be learned, which their text alone doesn't."""
    assert choose_column(names, "here", TO_TRAIN) is column


def test_conversations_are_no_text_to_measure_with() -> None:
    """A table of them alone is refused with what it holds, and taken by whoever trains."""
    with pytest.raises(TextError, match=r"no column `text` or `input_ids`; found messages\."):
        choose_column(["messages"], "here")
    with pytest.raises(TextError, match=r"no column `messages` or `text` or `input_ids`; found a"):
        choose_column(["a"], "here", TO_TRAIN)
