"""What a GGUF file says of its tokenizer, from the model's own tokenizer.json.

llama.cpp runs no tokenizer.json: it has two kinds of its own, byte-level and SentencePiece, into
which this translates. What it can't do the same way is refused, and a GGUF file of the same model
may lend its tokenizer instead (`donor`).
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import gguf
from gguf import TokenType

from globalprune.errors import UsageError
from globalprune.export.gguf.byte_level import byte_level
from globalprune.export.gguf.sentencepiece import is_byte, sentencepiece
from globalprune.export.gguf.tokenizer_kind import TokenizerKind
from globalprune.models.loading import load_tokenizer

_FILE: Final = "tokenizer.json"
_WAY_OUT: Final = (
    "name a GGUF file of the same model with --donor, and its tokenizer is taken as it stands."
)


@dataclass(frozen=True)
class Vocabulary:
    """One token a row of the embedding, and how text becomes tokens."""

    kind: TokenizerKind
    tokens: list[str]
    types: list[TokenType]
    special: gguf.SpecialVocab  # special tokens, merges, the chat template
    notes: tuple[str, ...] = ()

    def add_to(self, writer: gguf.GGUFWriter) -> None:
        """Write its keys."""
        writer.add_tokenizer_model(self.kind.model)
        writer.add_tokenizer_pre(self.kind.pre)
        writer.add_token_list(self.tokens)
        writer.add_token_types(self.types)
        if (scores := self.kind.scores) is not None:
            writer.add_token_scores([scores.get(token, 0.0) for token in self.tokens])
        if self.kind.space_prefix is not None:
            writer.add_add_space_prefix(self.kind.space_prefix)
        self.special.add_to_gguf(writer, quiet=True)


def read_vocabulary(folder: Path, rows: int) -> Vocabulary:
    """Translate the tokenizer in a model's folder, for an embedding of so many rows.

    Rows without a token get one that never occurs. Raise `UsageError` for a tokenizer that
    llama.cpp would run in another way.
    """
    path = folder / _FILE
    tokenizer = _read(path)
    added = {token["content"]: token for token in tokenizer.get("added_tokens", ())}
    kind = _kind(tokenizer, added, path)
    places = {**tokenizer["model"]["vocab"], **{text: one["id"] for text, one in added.items()}}
    if (most := max(places.values())) >= rows:
        raise UsageError(
            f"{path}: has a token {most}, where the embedding has {rows} rows; save the tokenizer "
            f"that belongs to the model, or {_WAY_OUT}"
        )
    tokens, types = [f"[PAD{row}]" for row in range(rows)], [TokenType.UNUSED] * rows
    for text, row in places.items():
        tokens[row] = text
        types[row] = _type_of(text, added.get(text), tokenizer, kind)
    special = _special(folder, merges=kind.scores is None, rows=rows)
    return Vocabulary(kind, tokens, types, special, tuple(_notes(added, kind)))


def _read(path: Path) -> dict[str, Any]:
    """A tokenizer.json that merges tokens."""
    try:
        tokenizer: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"{path}: can't be read ({error}); {_WAY_OUT}") from error
    model = tokenizer.get("model", {})
    if model.get("type") != "BPE" or not model.get("merges"):
        raise UsageError(f"{path}: merges no tokens, as llama.cpp's tokenizers do; {_WAY_OUT}")
    return tokenizer


def _kind(tokenizer: dict[str, Any], added: dict[str, Any], path: Path) -> TokenizerKind:
    """Recognise it; only what SentencePiece made falls back to bytes."""
    model = tokenizer["model"]
    kind: TokenizerKind | None
    if model.get("continuing_subword_prefix") or model.get("end_of_word_suffix"):
        kind = None
    elif model.get("byte_fallback"):
        kind = sentencepiece(tokenizer, added.keys())
    else:
        kind = byte_level(tokenizer)
    if kind is None:
        raise UsageError(
            f"{path}: cuts or merges text in a way that gp export doesn't know from llama.cpp; "
            f"{_WAY_OUT}"
        )
    return kind


def _type_of(
    text: str, added: dict[str, Any] | None, tokenizer: dict[str, Any], kind: TokenizerKind
) -> TokenType:
    """What llama.cpp is to do with a token when it meets it."""
    if kind.scores is not None and text == tokenizer["model"].get("unk_token"):
        return TokenType.UNKNOWN
    if added is not None:
        return TokenType.CONTROL if added["special"] else TokenType.USER_DEFINED
    return TokenType.BYTE if kind.scores is not None and is_byte(text) else TokenType.NORMAL


def _special(folder: Path, *, merges: bool, rows: int) -> gguf.SpecialVocab:
    """What is put around text is told by what the tokenizer does to some."""
    special = gguf.SpecialVocab(folder, load_merges=merges, n_vocab=rows)
    tokenizer: Any = load_tokenizer(folder)
    ids = tokenizer("a").input_ids
    special.add_special_token = {
        "bos": len(ids) > 1 and ids[0] == tokenizer.bos_token_id,
        "eos": len(ids) > 1 and ids[-1] == tokenizer.eos_token_id,
    }
    return special


def _notes(added: dict[str, Any], kind: TokenizerKind) -> Iterator[str]:
    """Yield what llama.cpp does otherwise, where it matters seldom."""
    greedy = [text for text, one in added.items() if one.get("lstrip") or one.get("rstrip")]
    if greedy:
        yield (
            f"spaces beside {', '.join(greedy[:3])} belong to these tokens in transformers, and "
            "not in llama.cpp."
        )
    if kind.space_prefix:
        yield (
            "llama.cpp puts a space before text even if it begins with one, and behind special "
            "tokens, as SentencePiece did; transformers may not."
        )
