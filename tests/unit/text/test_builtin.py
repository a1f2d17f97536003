"""The text that needs no network, and the border between its two uses."""

import sys
from pydoc_data.topics import topics

import pytest
from texts import VOCABULARY, values_in
from tiny_models import tiny_tokenizer

from globalprune.errors import TextError
from globalprune.text.builtin import Part, builtin_rows
from globalprune.text.calibration import calibration_windows
from globalprune.text.documents import read_documents
from globalprune.text.evaluation import evaluation_windows


def texts_of(part: Part) -> list[object]:
    """The topics of a part."""
    return values_in(builtin_rows(part))


def test_the_parts_share_no_topic_and_miss_none() -> None:
    """Together they are the manual, by name, calibration first."""
    whole = [topics[name] for name in sorted(topics)]
    assert texts_of(Part.CALIBRATION) + texts_of(Part.EVALUATION) == whole
    assert not set(texts_of(Part.CALIBRATION)) & set(texts_of(Part.EVALUATION))


def test_the_first_four_fifths_calibrate() -> None:
    """Of the characters, to the topic: the next one would be too much."""
    share = 0.8 * sum(len(text) for text in topics.values())
    calibration = sum(len(str(text)) for text in texts_of(Part.CALIBRATION))
    following = len(str(texts_of(Part.EVALUATION)[0]))
    assert calibration <= share < calibration + following


def test_a_row_says_which_topic_it_is() -> None:
    """The place of a row is a place in the manual."""
    where, row = next(builtin_rows(Part.CALIBRATION).values)
    first = min(topics)
    assert (where, row) == (f"builtin, topic {first}", {"text": topics[first]})


def test_windows_to_judge_by_touch_no_document_that_measured() -> None:
    """Whatever the seed: a perplexity on the builtin text is one on text unseen."""
    held_out = {document.digest for document in read_documents(builtin_rows(Part.EVALUATION))}
    judged = evaluation_windows(None, tiny_tokenizer, vocab_size=VOCABULARY).record
    measured = calibration_windows("builtin", tiny_tokenizer, vocab_size=VOCABULARY).record
    assert set(judged.document_digests) <= held_out
    assert measured.document_digests
    assert not set(measured.document_digests) & held_out


def test_a_python_without_the_manual_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """Some distributions strip it."""
    monkeypatch.setitem(sys.modules, "pydoc_data.topics", None)
    with pytest.raises(
        TextError, match=r"^builtin: this Python was installed without pydoc_data; give --data"
    ):
        texts_of(Part.CALIBRATION)
