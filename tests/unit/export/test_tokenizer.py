"""Tokenizers are recognised by what they do, or refused; nothing is guessed."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from export_tokenizers import (
    ROWS,
    byte_level_tokenizer,
    save_with_tokenizer,
    sentencepiece_tokenizer,
)
from gguf import TokenType

from globalprune.errors import UsageError
from globalprune.export.tokenizer import (
    PRE_TOKENIZERS,
    byte_level_kind,
    merge_scores,
    read_vocabulary,
    sentencepiece_kind,
)

QWEN_2 = next(steps for (steps, _), name in PRE_TOKENIZERS.items() if name == "qwen2")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with a byte-level tokenizer."""
    tokenizer = byte_level_tokenizer(QWEN_2, ignore_merges=False, bos=True)
    return save_with_tokenizer(tmp_path_factory.mktemp("vocabulary") / "model", tokenizer)


def raw(folder: Path) -> Any:
    """The tokenizer.json."""
    return json.loads((folder / "tokenizer.json").read_text("utf-8"))


def test_every_row_has_a_token(folder: Path) -> None:
    """Those that the tokenizer lacks are never used."""
    vocabulary = read_vocabulary(folder, ROWS)
    known = len(raw(folder)["model"]["vocab"]) + 2
    special = vocabulary.tokens.index("<|tool|>")

    assert len(vocabulary.tokens) == len(set(vocabulary.tokens)) == ROWS
    assert vocabulary.types[known:] == [TokenType.UNUSED] * (ROWS - known)
    assert vocabulary.tokens[-1] == f"[PAD{ROWS - 1}]"
    assert vocabulary.types[0] == vocabulary.types[special] == TokenType.CONTROL
    assert vocabulary.types[vocabulary.tokens.index("[X]")] == TokenType.USER_DEFINED
    assert vocabulary.types[5] == TokenType.NORMAL


def test_special_tokens_and_the_chat_template_come_along(folder: Path) -> None:
    """`<s>` goes before text because the tokenizer puts it there, not because it has one."""
    special = read_vocabulary(folder, ROWS).special

    assert special.special_token_ids["bos"] == 0
    assert special.special_token_ids["eos"] == 1
    assert special.add_special_token == {"bos": True, "eos": False}
    assert str(special.chat_template).startswith("{% for message")
    assert len(special.merges) == len(raw(folder)["model"]["merges"])


def test_pieces_bytes_and_the_unknown(tmp_path: Path) -> None:
    """SentencePiece's kinds of tokens, and scores in the order of its merges."""
    folder = save_with_tokenizer(tmp_path / "model", sentencepiece_tokenizer())
    vocabulary = read_vocabulary(folder, ROWS)
    scores = vocabulary.kind.scores or {}
    pieces = [token for token in vocabulary.tokens[259:] if token in scores and len(token) > 1]

    assert vocabulary.types[:4] == [
        TokenType.UNKNOWN, TokenType.CONTROL, TokenType.CONTROL, TokenType.BYTE
    ]  # fmt: skip
    in_order = [scores[piece] for piece in pieces]
    assert in_order == sorted(in_order, reverse=True)
    assert vocabulary.kind.space_prefix


Mangle = Callable[[Any], Any]
BYTE_LEVEL: dict[str, Mangle] = {
    "another pattern": lambda raw: raw["pre_tokenizer"]["pretokenizers"][0].update(
        pattern={"Regex": r"\p{N}{1,2}"}
    ),
    "another way to split": lambda raw: raw["pre_tokenizer"]["pretokenizers"][0].update(
        behavior="MergedWithPrevious"
    ),
    "a space before text": lambda raw: raw["pre_tokenizer"]["pretokenizers"][1].update(
        add_prefix_space=True
    ),
    "another step": lambda raw: raw["pre_tokenizer"]["pretokenizers"].append(
        {"type": "Punctuation", "behavior": "Isolated"}
    ),
    "characters, not bytes": lambda raw: raw["pre_tokenizer"]["pretokenizers"].pop(),
    "no step": lambda raw: raw.update(pre_tokenizer=None),
    "lower case": lambda raw: raw.update(normalizer={"type": "Lowercase"}),
    "whole words first": lambda raw: raw["model"].update(ignore_merges=True),
}
SENTENCEPIECE: dict[str, Mangle] = {
    "a pair is missing": lambda raw: raw["model"]["merges"].pop(7),
    "pairs of one piece apart": lambda raw: raw["model"]["merges"].sort(key=repr),
    "text is cut": lambda raw: raw.update(pre_tokenizer={"type": "Whitespace"}),
    "it is normalised": lambda raw: raw["normalizer"]["normalizers"].insert(0, {"type": "NFKC"}),
    "no space becomes a mark": lambda raw: raw.update(normalizer=None),
}


@pytest.mark.parametrize("mangle", BYTE_LEVEL.values(), ids=BYTE_LEVEL)
def test_byte_level_tokenizers_that_do_anything_else(folder: Path, mangle: Mangle) -> None:
    """A name that is nearly right would give other tokens."""
    tokenizer = raw(folder)
    assert byte_level_kind(tokenizer) is not None
    mangle(tokenizer)

    assert byte_level_kind(tokenizer) is None


@pytest.mark.parametrize("mangle", SENTENCEPIECE.values(), ids=SENTENCEPIECE)
def test_what_sentencepiece_did_not_make(mangle: Mangle) -> None:
    """A merge that is left out can't be said by scores."""
    tokenizer: Any = json.loads(sentencepiece_tokenizer().backend_tokenizer.to_str())
    assert sentencepiece_kind(tokenizer, {"<|tool|>"}) is not None
    mangle(tokenizer)

    assert sentencepiece_kind(tokenizer, {"<|tool|>"}) is None


def test_scores_are_places_in_the_list_of_merges() -> None:
    """A piece has that of its first pair; added tokens take no part."""
    tokens = ("a", "b", "c", "ab", "bc", "abc", "cab")
    vocabulary = {token: place for place, token in enumerate(tokens)}
    merges = [("a", "b"), ("b", "c"), ("ab", "c"), ("a", "bc")]

    assert merge_scores(vocabulary, merges, set()) is None
    assert merge_scores(vocabulary, merges, {"cab"}) == {
        "ab": 0.0, "bc": -1.0, "abc": -2.0, "a": -4.0, "b": -4.0, "c": -4.0, "cab": -4.0
    }  # fmt: skip


def test_refusals_name_the_donor_as_the_way_out(folder: Path, tmp_path: Path) -> None:
    """Whatever is wrong with the file."""
    broken = raw(folder)
    broken["pre_tokenizer"] = None
    wordpiece = raw(folder)
    wordpiece["model"]["type"] = "WordPiece"
    ending = raw(folder)
    ending["model"]["end_of_word_suffix"] = "</w>"
    unmerged = raw(folder)
    unmerged["model"]["merges"] = []
    for rows, content, message in (
        (ROWS, None, r"tokenizer\.json: can't be read"),
        (ROWS, "{", r"tokenizer\.json: can't be read"),
        (ROWS, json.dumps(wordpiece), "merges no tokens"),
        (ROWS, json.dumps(unmerged), "merges no tokens"),
        (ROWS, json.dumps(broken), "cuts or merges text in a way that gp export doesn't know"),
        (ROWS, json.dumps(ending), "cuts or merges text in a way that gp export doesn't know"),
        (300, json.dumps(raw(folder)), r"has a token \d+, where the embedding has 300 rows"),
    ):
        if content is not None:
            (tmp_path / "tokenizer.json").write_text(content, "utf-8")
        with pytest.raises(UsageError, match=message) as refused:
            read_vocabulary(tmp_path, rows)
        assert "with --donor" in str(refused.value)
