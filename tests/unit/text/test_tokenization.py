"""Documents become one row of ids, and the row knows where each of them is."""

import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from text_files import (
    BOS,
    EOS,
    TABLE_KINDS,
    VOCABULARY,
    TokenizerMaker,
    ids_of,
    joined_ids,
    tokenizer_with_bos,
    tokenizer_with_leading_unknown,
    tokenizer_without,
    write_column,
    write_lines,
)
from tiny_models import tiny_tokenizer
from tokenizers import normalizers
from transformers import PreTrainedTokenizerBase

from globalprune.errors import TextError
from globalprune.progress import silent
from globalprune.text import tokenization
from globalprune.text.readers import TextUse, open_rows
from globalprune.text.rows import Column, TextRows
from globalprune.text.source import parse_source
from globalprune.text.tokenization import (
    Document,
    TokenSequence,
    adds_bos,
    read_documents,
    tokenise,
)

TOKENIZER = tiny_tokenizer()


def documents(*texts: str) -> Iterator[Document]:
    """Documents whose digest is their text."""
    return (Document(text, text) for text in texts)


def tokenised(
    source: Iterator[Document],
    tokenizer: PreTrainedTokenizerBase = TOKENIZER,
    *,
    vocab_size: int = VOCABULARY,
    min_tokens: int | None = None,
) -> TokenSequence:
    """The ids of documents."""
    return tokenise(
        source,
        tokenizer,
        name="here",
        vocab_size=vocab_size,
        min_tokens=min_tokens,
        progress=silent,
    )


@pytest.mark.parametrize("make", [tiny_tokenizer, tokenizer_with_bos], ids=["bare", "with BOS"])
def test_documents_are_joined_by_one_eos(make: TokenizerMaker) -> None:
    """Between them, not behind the last; no other special token stands in the row."""
    text = tokenised(documents("ab", "c", "def"), make())
    assert text.ids.tolist() == [*ids_of("ab"), EOS, *ids_of("c"), EOS, *ids_of("def")]
    assert text.starts.tolist() == [0, 3, 5]
    assert text.digests == ("ab", "c", "def")


def test_a_tokenizer_without_eos_lets_documents_follow_each_other() -> None:
    """No other token takes its place."""
    text = tokenised(documents("ab", "c"), tokenizer_without(eos_token=None))
    assert text.ids.tolist() == [*ids_of("abc")]
    assert text.starts.tolist() == [0, 2]


def test_a_document_that_gives_no_token_leaves_no_trace() -> None:
    """Neither a second EOS nor a digest."""
    tokenizer = tiny_tokenizer()
    tokenizer.backend_tokenizer.normalizer = normalizers.Strip()
    text = tokenised(documents(" ", "a", "\n", "b", " "), tokenizer)
    assert text.ids.tolist() == [*ids_of("a"), EOS, *ids_of("b")]
    assert text.digests == ("a", "b")


def test_a_tokenizer_s_own_limits_change_nothing() -> None:
    """Many truncate and pad by default; text is neither cut at that length nor filled up."""
    tokenizer = tiny_tokenizer()
    tokenizer.model_max_length = 4
    tokenizer.backend_tokenizer.enable_truncation(4)
    tokenizer.backend_tokenizer.enable_padding(length=16, pad_id=258, pad_token="<pad>")
    text = tokenised(documents("a longer document", "b"), tokenizer)
    assert text.ids.tolist() == joined_ids(["a longer document", "b"]).tolist()


@settings(deadline=None, max_examples=50)
@given(
    lengths=st.lists(st.integers(1, 6), min_size=1, max_size=8),
    length=st.integers(1, 7),
    data=st.data(),
)
def test_documents_in_spans_are_those_they_touch(
    lengths: list[int], length: int, data: st.DataObject
) -> None:
    """Token by token: an EOS belongs to the document that it ends."""
    names = [str(number) * n for number, n in enumerate(lengths)]
    text = tokenised(documents(*names))
    owners = [name for name, n in zip(names, lengths, strict=True) for _ in range(n + 1)][:-1]
    last = max(len(owners) - length, 0)
    positions = data.draw(st.lists(st.integers(0, last), min_size=1, max_size=3))
    touched = {owner for start in positions for owner in owners[start : start + length]}
    found = text.documents_in(np.array(positions), min(length, len(owners)))
    assert found == tuple(name for name in names if name in touched)


def test_reading_stops_once_there_is_enough() -> None:
    """An endless stream is read no further than the block in which min_tokens is there."""

    def endless() -> Iterator[Document]:
        for number in range(100):
            yield Document("x" * 2**14, str(number))
        raise AssertionError("read on")

    assert len(tokenised(endless(), min_tokens=2**17).digests) == 8


def test_everything_is_read_if_nobody_says_enough() -> None:
    """Over block after block, in order."""
    texts = [chr(ord("a") + number) * 2**14 for number in range(10)]
    assert np.array_equal(tokenised(documents(*texts)).ids, joined_ids(texts))


def test_text_without_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rather than filling the memory with it."""
    monkeypatch.setattr(tokenization, "MAX_TOKENS", 10)
    with pytest.raises(TextError, match=r"^here: has more than 10 tokens; say --samples"):
        tokenised(documents("x" * 20))
    assert len(tokenised(documents("x" * 20), min_tokens=5).ids) == 20


@pytest.mark.parametrize("texts", [[], [" ", "\n"]], ids=["no document", "no token"])
def test_no_text_at_all_is_refused(texts: list[str]) -> None:
    """The message names the source."""
    tokenizer = tiny_tokenizer()
    tokenizer.backend_tokenizer.normalizer = normalizers.Strip()
    with pytest.raises(TextError, match=r"^here: holds no text; every document is empty"):
        tokenised(documents(*texts), tokenizer)


@pytest.mark.parametrize(
    ("make", "texts", "largest"),
    [
        (tiny_tokenizer, ["a", "b"], EOS),
        (tiny_tokenizer, ["ÿ"], int(ids_of("ÿ").max())),
        (tokenizer_with_bos, ["a"], BOS),
    ],
    ids=["eos", "text", "bos"],
)
def test_ids_that_the_model_lacks_are_refused(
    make: TokenizerMaker, texts: list[str], largest: int
) -> None:
    """Those of special tokens too: the embedding would fail, or on a GPU crash."""
    with pytest.raises(
        TextError,
        match=rf"gives id {largest} \('.+'\), but the model has only {largest} embeddings "
        r"by vocab_size in its config\.json; use the model's own tokenizer",
    ):
        tokenised(documents(*texts), make(), vocab_size=largest)
    assert tokenised(documents(*texts), make(), vocab_size=largest + 1).ids.max() <= largest


@pytest.mark.parametrize(
    ("make", "adds"),
    [
        (tokenizer_with_bos, True),
        (tiny_tokenizer, False),
        (tokenizer_with_leading_unknown, False),
        (lambda: tokenizer_without(bos_token=None), False),
    ],
    ids=["adds it", "has one", "adds another", "has none"],
)
def test_bos_follows_what_the_tokenizer_does(make: TokenizerMaker, adds: bool) -> None:
    """What its settings claim is not asked."""
    assert adds_bos(make()) is adds


TEXTS = ["first", "", "zweites – ünïcode 𝄞", "third"]


def documents_of(values: Iterable[object]) -> list[Document]:
    """The documents of values that stand in rows 0, 1, …."""
    rows = TextRows(
        Column.TEXT, ((f"here, row {n}", {"text": value}) for n, value in enumerate(values))
    )
    return list(read_documents(rows))


@pytest.mark.parametrize("kind", TABLE_KINDS)
def test_every_kind_of_file_gives_the_same_documents(tmp_path: Path, kind: str) -> None:
    """Texts and digests don't depend on how the rows are stored."""
    path = write_column(tmp_path, kind, "text", TEXTS)
    rows = open_rows(parse_source(str(path)), TextUse.CALIBRATION, shuffle_seed=0)
    assert list(read_documents(rows)) == documents_of(TEXTS)


def test_a_digest_is_that_of_the_utf_8_bytes() -> None:
    """Anyone can compute it, and a document is known again wherever it was read."""
    (document,) = documents_of(["ünïcode"])
    expected = hashlib.sha256("ünïcode".encode()).hexdigest()
    assert document == Document("ünïcode", f"sha256:{expected}")


def test_empty_documents_are_passed_over() -> None:
    """They hold no token; a space is text."""
    assert [document.text for document in documents_of(["", "a", "", " "])] == ["a", " "]


@pytest.mark.parametrize(
    ("value", "found"),
    [(None, "null"), (3, "a int"), (["a"], "a list"), ({"a": 1}, "a dict"), (b"a", "a bytes")],
    ids=["null", "number", "list", "object", "bytes"],
)
def test_what_is_no_string_is_refused_with_its_row(value: object, found: str) -> None:
    """A list of sentences is not joined by guess, nor bytes decoded."""
    with pytest.raises(
        TextError, match=rf"^here, row 1: `text` is {found}, not a string; drop or mend that row"
    ):
        documents_of(["good", value])


@pytest.mark.parametrize("sublayer", [0xD83D, 0xDE00], ids=["high", "low"])
def test_half_a_surrogate_pair_is_refused_with_its_place(tmp_path: Path, sublayer: int) -> None:
    """JSON can spell it and a tokenizer would crash on it; a whole pair is text."""
    path = write_lines(tmp_path / "a.jsonl", [{"text": "😀"}, {"text": f"abc{chr(sublayer)} d"}])
    assert "\\ud83d\\ude00" in path.read_text()
    rows = open_rows(parse_source(str(path)), TextUse.CALIBRATION, shuffle_seed=None)
    with pytest.raises(
        TextError, match=r"a\.jsonl, line 2: holds half a surrogate pair at character 3, which"
    ):
        list(read_documents(rows))
