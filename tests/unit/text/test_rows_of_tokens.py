"""What stands beside ids is honoured as trainers do, or refused by the column's name."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet
import pytest
import torch
from text_files import TABLE_KINDS, VOCABULARY, failing_tokenizer, write_arrow, write_lines

from globalprune.errors import TextError
from globalprune.text.calibration import calibration_windows
from globalprune.text.rows import IGNORED_LABEL
from globalprune.text.training import TrainingText, training_texts
from globalprune.text.windows import TokenWindows

X = IGNORED_LABEL
IDS = [5, 6, 7, 8]


def measured(path: Path) -> TokenWindows:
    """The windows of a file, to measure with."""
    return calibration_windows(str(path), failing_tokenizer, vocab_size=VOCABULARY)


def trained(path: Path) -> TrainingText:
    """The windows of a file, to learn from."""
    return training_texts([str(path)], failing_tokenizer, vocab_size=VOCABULARY, samples=9)[0]


def one(folder: Path, **columns: Any) -> Path:
    """A file of one row."""
    return write_lines(folder / "rows.jsonl", [{"input_ids": IDS, **columns}])


def lists(tensors: tuple[torch.Tensor, ...]) -> list[list[int]]:
    """Tensors as lists."""
    return [tensor.tolist() for tensor in tensors]


@pytest.mark.parametrize("kind", TABLE_KINDS)
def test_padding_is_taken_off_and_masked_tokens_are_not_learned(tmp_path: Path, kind: str) -> None:
    """The table that trl and others write: padded left or right, prompts at -100."""
    rows = {
        "id": [1, 2, 3],
        "input_ids": [[5, 6, 7, 0], [0, 5, 6, 7], [5, 6, 7, 8]],
        "attention_mask": [[1, 1, 1, 0], [0, 1, 1, 1], [1, 1, 1, 1]],
        "labels": [[X, X, 7, X], [X, 5, X, 7], [5, 6, 7, 8]],
        "special_tokens_mask": [[0, 0, 0, 1], [1, 0, 0, 0], [0, 0, 0, 0]],
    }
    path = tmp_path / f"rows.{kind.partition(' ')[0]}"
    table = pa.table(rows)
    if kind == "jsonl":
        write_lines(path, table.to_pylist())
    elif kind == "parquet":
        pyarrow.parquet.write_table(table, path)
    else:
        write_arrow(path, table, stream=kind == "arrow stream")
    text = trained(path)
    assert lists(text.rows) == [[5, 6, 7], [5, 6, 7], [5, 6, 7, 8]]
    assert lists(text.labels) == [[X, X, 7], [5, X, 7], [5, 6, 7, 8]]


def test_what_masks_nothing_may_stand_there(tmp_path: Path) -> None:
    """Full masks, labels that are the ids, positions from 0: measured and learned as without."""
    full = one(
        tmp_path,
        attention_mask=[1, 1, 1, 1],
        labels=[X, 6, 7, 8],  # the first is never predicted
        loss_mask=[True, True, True, True],
        position_ids=[0, 1, 2, 3],
        token_type_ids=[0, 0, 0, 0],
        seq_lengths=[4],
        length=4,
        source="web",
    )
    assert lists(measured(full).rows) == lists(trained(full).rows) == [IDS]


@pytest.mark.parametrize("column", ["completion_mask", "assistant_masks", "loss_mask"])
def test_masks_of_other_trainers_are_honoured(tmp_path: Path, column: str) -> None:
    """A 1 is learned, and a 0 is there to be read."""
    path = one(tmp_path, **{column: [0, 0, 1, 1]})
    assert lists(trained(path).labels) == [[X, X, 7, 8]]
    with pytest.raises(TextError, match=rf"line 1: `{column}` leaves tokens out of the loss"):
        measured(path)


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"labels": [X, X, X, X]}, "`labels` leaves every token out of the loss"),
    ({"labels": [5, X, X, X]}, "`labels` leaves every token out of the loss"),
    ({"labels": [6, 7, 8, 9]}, r"`labels` holds 6 at token 0, whose id is 5; .* not shifted"),
    ({"labels": [5, 6, 7]}, "`labels` has 3 entries, and `input_ids` has 4"),
    ({"labels": [5, 6, 7, 8.0]}, "`labels` is not a list of integers"),
    ({"labels": None}, "`labels` is not a list of integers"),
    ({"labels": [5, 6, 7, 10**30]}, "`labels` has a number beyond 64 bits"),
    ({"attention_mask": [1, 0, 1, 1]}, "`attention_mask` leaves out tokens in the middle"),
    ({"attention_mask": [0, 0, 0, 1]}, "has 1 token without the padding of `attention_mask`"),
    ({"attention_mask": [0, 0, 0, 0]}, "has 0 tokens without the padding of `attention_mask`"),
    ({"attention_mask": [1, 1, 2, 2]}, "`attention_mask` holds 2, which is neither 0 nor 1"),
    ({"attention_mask": [[1, 1, 1, 1]]}, "`attention_mask` is not a list of integers"),
    ({"position_ids": [0, 1, 0, 1]}, "`position_ids` holds positions that don't run from 0"),
    ({"position_ids": [0, 1]}, "`position_ids` holds positions that don't run from 0"),
    ({"token_type_ids": [0, 0, 1, 1]}, "`token_type_ids` holds segments other than 0"),
    ({"seq_lengths": [2, 2]}, "`seq_lengths` says that the row is packed"),
    ({"advantages": [0.5, 1, 0, 0]}, "`advantages` has a number for every token"),
]


@pytest.mark.parametrize(("columns", "message"), REFUSED, ids=lambda of: str(of)[:40])
def test_what_can_not_be_honoured_is_refused_by_name(
    tmp_path: Path, columns: dict[str, Any], message: str
) -> None:
    """Row and column are told."""
    with pytest.raises(TextError, match=rf"rows\.jsonl, line 1: {message}"):
        trained(one(tmp_path, **columns))


def test_what_is_measured_counts_every_token(tmp_path: Path) -> None:
    """Padding may go; a token that labels leave out would be measured all the same."""
    padded = one(tmp_path, attention_mask=[0, 1, 1, 1], labels=[X, 6, 7, 8])
    assert lists(measured(padded).rows) == [[6, 7, 8]]
    with pytest.raises(TextError, match=r"line 1: `labels` leaves tokens out.* gp finetune"):
        measured(one(tmp_path, labels=[X, X, 7, 8]))
