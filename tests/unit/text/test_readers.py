"""Every source as rows: the builtin text in its two parts, and data sets of the Hub as streams."""

import sys
from collections.abc import Callable, Iterator
from pydoc_data.topics import topics
from typing import Any

import datasets
import pytest
from text_files import VOCABULARY, column_values, failing_tokenizer, located_values
from tiny_models import tiny_tokenizer

from globalprune.errors import TextError
from globalprune.evaluation.windows import evaluation_windows
from globalprune.text.calibration import DEFAULT_SOURCE, calibration_windows
from globalprune.text.readers import TextUse, builtin_rows, hub_rows
from globalprune.text.rows import Column
from globalprune.text.source import HubText
from globalprune.text.tokenization import read_documents


def texts_of(part: TextUse) -> list[object]:
    """The topics of a part."""
    return column_values(builtin_rows(part))


def test_the_parts_share_no_topic_and_miss_none() -> None:
    """Together they are the manual, by name, calibration first."""
    whole = [topics[name] for name in sorted(topics)]
    assert texts_of(TextUse.CALIBRATION) + texts_of(TextUse.EVALUATION) == whole
    assert not set(texts_of(TextUse.CALIBRATION)) & set(texts_of(TextUse.EVALUATION))


def test_the_first_four_fifths_calibrate() -> None:
    """Of the characters, to the topic: the next one would be too much."""
    share = 0.8 * sum(len(text) for text in topics.values())
    calibration = sum(len(str(text)) for text in texts_of(TextUse.CALIBRATION))
    following = len(str(texts_of(TextUse.EVALUATION)[0]))
    assert calibration <= share < calibration + following


def test_a_row_says_which_topic_it_is() -> None:
    """The place of a row is a place in the manual."""
    where, row = next(builtin_rows(TextUse.CALIBRATION).values)
    first = min(topics)
    assert (where, row) == (f"builtin, topic {first}", {"text": topics[first]})


def test_windows_to_judge_by_touch_no_document_that_measured() -> None:
    """Whatever the seed: a perplexity on the builtin text is one on text unseen."""
    held_out = {document.digest for document in read_documents(builtin_rows(TextUse.EVALUATION))}
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
        texts_of(TextUse.CALIBRATION)


SOURCE = HubText("owner/data:en:test", "owner/data", "en", "test")
TEXTS = [f"document {number:03}" for number in range(40)]
Rows = list[dict[str, Any]]


class Hub:
    """A Hub that serves one data set as a real stream and notes what it was asked for."""

    def __init__(self) -> None:
        self.asked: list[tuple[Any, ...]] = []
        self.stream: Any = None

    def serve(self, rows: Rows) -> None:
        """Serve these rows."""
        self.stream = datasets.Dataset.from_list(rows).to_iterable_dataset()

    def serve_unnamed(self, make: Callable[[], Iterator[dict[str, Any]]]) -> None:
        """Serve rows whose columns only the first row tells, as raw JSON files on the Hub do."""
        self.stream = datasets.IterableDataset.from_generator(make)

    def load_dataset(self, path: str, name: str | None, *, split: str, streaming: bool) -> Any:
        """Stand in for `datasets.load_dataset`."""
        self.asked.append((path, name, split, streaming))
        if isinstance(self.stream, Exception):
            raise self.stream
        return self.stream


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Hub:
    """Put a served data set in the place of the Hub."""
    served = Hub()
    monkeypatch.setattr(datasets, "load_dataset", served.load_dataset)
    return served


def values_of(seed: int | None = None) -> list[object]:
    """Every value of the served data set."""
    return column_values(hub_rows(SOURCE, seed))


def test_the_named_config_and_split_are_streamed(hub: Hub) -> None:
    """Nothing is downloaded whole."""
    hub.serve([{"text": "a"}])
    assert located_values(hub_rows(SOURCE, None)) == [("owner/data (test), streamed row 0", "a")]
    assert hub.asked == [("owner/data", "en", "test", True)]


def test_without_a_source_web_text_is_streamed(hub: Hub) -> None:
    """The default of calibration, recorded by name."""
    hub.serve([{"text": text} for text in TEXTS])
    windows = calibration_windows(None, tiny_tokenizer, vocab_size=VOCABULARY, samples=2, seq_len=8)
    assert hub.asked == [("HuggingFaceFW/fineweb-edu", "sample-10BT", "train", True)]
    assert windows.record.source == DEFAULT_SOURCE


def test_documents_to_calibrate_with_are_shuffled_by_the_seed(hub: Hub) -> None:
    """The same documents, each once, in an order that the seed alone decides."""
    hub.serve([{"text": text} for text in TEXTS])
    one, again, other = values_of(seed=0), values_of(seed=0), values_of(seed=1)
    assert one == again
    assert sorted(map(str, one)) == sorted(map(str, other)) == TEXTS
    assert len({tuple(one), tuple(other), tuple(TEXTS)}) == 3


def test_a_seed_decides_which_documents_a_stream_begins_with(hub: Hub) -> None:
    """Calibration passes its seed on; the window is all of the text, so no position is drawn."""
    hub.serve([{"text": text} for text in TEXTS])
    length = sum(map(len, TEXTS)) + len(TEXTS) - 1

    def digest(seed: int) -> str:
        windows = calibration_windows(
            "owner/data",
            tiny_tokenizer,
            vocab_size=VOCABULARY,
            samples=1,
            seq_len=length,
            seed=seed,
        )
        return windows.record.digest

    assert digest(0) == digest(0)
    assert digest(0) != digest(1)


def test_documents_to_judge_by_come_in_order(hub: Hub) -> None:
    """Every run judges by the same windows, from the start."""
    hub.serve([{"text": text} for text in TEXTS])
    windows = evaluation_windows(
        "owner/data", tiny_tokenizer, vocab_size=VOCABULARY, samples=1, seq_len=25
    )
    assert tiny_tokenizer().decode(windows.rows[0]) == f"{TEXTS[0]}</s>{TEXTS[1]}"


def test_windows_keep_their_order_whatever_the_seed(hub: Hub) -> None:
    """Someone has chosen them; the first ones are the first ones."""
    rows = [[number, number + 1] for number in range(40)]
    hub.serve([{"input_ids": row} for row in rows])
    assert hub_rows(SOURCE, 0).column is Column.INPUT_IDS
    windows = calibration_windows(
        "owner/data", failing_tokenizer, vocab_size=VOCABULARY, samples=3, seed=5
    )
    assert [row.tolist() for row in windows.rows] == rows[:3]


def test_columns_may_be_known_from_the_first_row_only(hub: Hub) -> None:
    """And that row is still read."""
    hub.serve_unnamed(lambda: ({"id": n, "text": text} for n, text in enumerate(TEXTS)))
    assert values_of() == TEXTS


def test_a_data_set_without_the_column_is_refused(hub: Hub) -> None:
    """The message names the split and the columns it has."""
    hub.serve([{"content": "a", "url": "b"}])
    with pytest.raises(
        TextError, match=r"^owner/data \(test\): has no column .*; found content, url\."
    ):
        values_of()


def test_a_split_without_rows_is_refused(hub: Hub) -> None:
    """The message names the split."""
    hub.serve_unnamed(lambda: iter([]))
    with pytest.raises(TextError, match="the split `test` has no rows; name another"):
        values_of()


def test_a_row_that_is_no_text_is_named_by_its_number(hub: Hub) -> None:
    """Nulls are common on the Hub."""
    hub.serve([{"text": "a"}, {"text": None}])
    with pytest.raises(TextError, match=r"owner/data \(train\), streamed row 1: `text` is null"):
        evaluation_windows("owner/data", tiny_tokenizer, vocab_size=VOCABULARY)


WAY_OUT = (
    r"Check the name \(id\[:config\]\[:split\]\) and the network; without a network, give --data a "
    r"local file or folder, or `builtin`\.$"
)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ConnectionError("no route\nto host"), "ConnectionError: no route"),
        (ValueError('Unknown split "test"'), 'ValueError: Unknown split "test"'),
        (RuntimeError(), "RuntimeError: no reason given"),
    ],
    ids=["network", "split", "silent"],
)
def test_what_keeps_a_data_set_from_opening_is_said(
    hub: Hub, error: Exception, reason: str
) -> None:
    """In one line, with `builtin` and local files as the way out."""
    hub.stream = error
    with pytest.raises(
        TextError,
        match=rf"^owner/data:en:test: can't be streamed from the Hub \({reason}\)\. {WAY_OUT}",
    ):
        hub_rows(SOURCE, 0)


def test_a_network_that_fails_in_the_middle_is_said_so(hub: Hub) -> None:
    """Windows are never made of the part that came through."""

    def rows() -> Iterator[dict[str, Any]]:
        yield from ({"text": text} for text in TEXTS)
        raise ConnectionError("connection reset")

    hub.serve_unnamed(rows)
    with pytest.raises(TextError, match=rf"\(ConnectionError: connection reset\)\. {WAY_OUT}"):
        evaluation_windows("owner/data", tiny_tokenizer, vocab_size=VOCABULARY)


def test_without_a_network_the_default_is_refused_with_the_way_out() -> None:
    """The real library, kept offline, fails as we expect it to."""
    with pytest.raises(TextError, match=rf"^HuggingFaceFW/fineweb-edu.*Connection.*{WAY_OUT}"):
        calibration_windows(None, failing_tokenizer, vocab_size=VOCABULARY)
