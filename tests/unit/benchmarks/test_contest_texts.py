"""The judging windows."""

from pathlib import Path

import numpy as np
import pytest
import torch
from contest.texts import FOREIGN, OTHER, STRIDED, judging_texts
from contest_parts import question_of
from text_files import VOCABULARY, ids_of, numbered_text, position_of, tokenizer_with_bos
from tiny_models import tiny_tokenizer

from globalprune.evaluation.windows import evaluation_windows


@pytest.fixture
def text(tmp_path: Path) -> Path:
    """Text of 2,000 tokens in which every window tells where it stands."""
    path = tmp_path / "judge.txt"
    path.write_text(numbered_text(400), encoding="utf-8")
    return path


def test_strided_windows_are_those_of_gp_eval(text: Path) -> None:
    """The same ids, by the same digest."""
    question = question_of(judge=str(text), stride=300)
    expected = evaluation_windows(
        str(text), tiny_tokenizer, vocab_size=VOCABULARY, samples=3, seq_len=16, stride=300
    )

    found = judging_texts(question, tiny_tokenizer, VOCABULARY)

    assert found[STRIDED].record.digest == expected.record.digest


@pytest.mark.parametrize("load", [tiny_tokenizer, tokenizer_with_bos], ids=["plain", "bos"])
def test_the_other_windows_share_no_token_with_the_strided_ones(text: Path, load: object) -> None:
    """However many are asked for: they are all that is left of the text, from all over it."""
    question = question_of(judge=str(text), stride=150, strided=10, others=10**4)
    ids = ids_of(text.read_text(encoding="utf-8"))
    body = slice(int(load is tokenizer_with_bos), None)

    found = judging_texts(question, load, VOCABULARY)  # type: ignore[arg-type]

    spans = [
        (start := position_of(row[body], ids), start + len(row[body]))
        for name in (STRIDED, OTHER)
        for row in found[name].rows
    ]
    covered = np.concatenate([np.arange(*span) for span in spans])
    assert len(np.unique(covered)) == len(covered)
    assert len(found[OTHER].rows) > 90
    assert max(end for _, end in spans) > 1980


def test_a_few_windows_come_from_all_over_the_text(text: Path) -> None:
    """The first and the last are the first and the last that are free."""
    question = question_of(judge=str(text), stride=300, others=3)
    ids = ids_of(text.read_text(encoding="utf-8"))

    found = judging_texts(question, tiny_tokenizer, VOCABULARY)[OTHER]

    places = [position_of(row.numpy(), ids) for row in found.rows]
    assert places[0] == 16
    assert 900 < places[1] < 1100
    assert places[2] == 1984
    assert found.record.samples == 3


def test_the_foreign_text_is_another_one(text: Path) -> None:
    """By default the part of the builtin text that nothing calibrates on."""
    found = judging_texts(question_of(judge=str(text), stride=300), tiny_tokenizer, VOCABULARY)

    assert found[FOREIGN].record.source == "builtin"
    assert len(found[FOREIGN].rows) == 4
    assert not torch.equal(found[FOREIGN].rows[0], found[OTHER].rows[0])
