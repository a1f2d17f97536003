"""Which column of a table is read."""

import pytest

from globalprune.errors import TextError
from globalprune.text.rows import TRAINING_COLUMNS, Column, choose_column


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
        match=rf"^here: has no column `text` or `input_ids` or `messages`; found {found}\. "
        "Name the column",
    ):
        choose_column(names, "here")


def test_two_columns_of_one_name_are_refused() -> None:
    """Neither is guessed."""
    with pytest.raises(TextError, match=r"^here: has 2 columns `text`; rename all but one"):
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
    assert choose_column(names, "here", TRAINING_COLUMNS) is column


@pytest.mark.parametrize(
    ("names", "advice"),
    [
        (["id", "conversations"], "from and value of ShareGPT are role and content"),
        (["instruction", "output"], "instruction and output are two messages"),
        (["prompt", "completion"], "prompt and answer are two messages"),
    ],
    ids=["ShareGPT", "instructions", "completions"],
)
def test_conversations_in_another_form_are_refused_with_the_way_to_write_them(
    names: list[str], advice: str
) -> None:
    """To call such a column `text` would lead to the next error."""
    with pytest.raises(TextError, match=rf"found {', '.join(names)}\. Write .* {advice}"):
        choose_column(names, "here", TRAINING_COLUMNS)
