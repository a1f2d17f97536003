"""tokenizer.json as the vocabulary of a GGUF file, or the vocabulary of another such file.

gguf's SpecialVocab reads special tokens, merges and the chat template. Its vocabulary classes give
every token the same score, allow no gap among ids, and don't check how text is cut; so tokens,
types and scores are made here.
"""

import json
import re
from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import gguf
from gguf import TokenType

from globalprune.errors import UsageError
from globalprune.models.checkpoints.gguf_header import is_gguf
from globalprune.models.tokenizer import load_tokenizer

Steps = tuple[str, ...]  # of a pre-tokenizer: regular expressions, or one of these names
BYTES: Final = "bytes"
WORDS_OF_BYTES: Final = "bytes, by GPT-2's pattern"
DIGITS: Final = "single digits"

_WORDS: Final = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+"
_REST: Final = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_UPPER: Final = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]"
_LOWER: Final = r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
_BEFORE: Final = r"[^\r\n\p{L}\p{N}]?"
LLAMA_3: Final = rf"{_WORDS}|\p{{N}}{{1,3}}{_REST}"
QWEN_2: Final = rf"{_WORDS}|\p{{N}}{_REST}"
TEKKEN: Final = (
    rf"{_BEFORE}{_UPPER}*{_LOWER}+|{_BEFORE}{_UPPER}+{_LOWER}*|\p{{N}}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
# llama.cpp's names, by the steps and by whether a piece that is a token is taken before any merge.
PRE_TOKENIZERS: Final[dict[tuple[Steps, bool], str]] = {
    ((LLAMA_3, BYTES), True): "llama-bpe",
    ((LLAMA_3, BYTES), False): "smaug-bpe",
    ((QWEN_2, BYTES), False): "qwen2",
    ((TEKKEN, BYTES), True): "tekken",
    ((DIGITS, WORDS_OF_BYTES), False): "smollm",
    ((WORDS_OF_BYTES,), False): "gpt-2",
}
# llama.cpp never normalises; converters accept NFC, since Qwen's tokenizers have it.
_NORMALIZERS: Final = (None, {"type": "NFC"})

_SPACE: Final = "▁"
_BYTE_TOKEN: Final = re.compile(r"<0x[0-9A-F]{2}>")
_REPLACE: Final = {"type": "Replace", "pattern": {"String": " "}, "content": _SPACE}
_PREPEND: Final = {"type": "Prepend", "prepend": _SPACE}

_FILE: Final = "tokenizer.json"
_WAY_OUT: Final = "name a GGUF file of the same model with --donor, and its tokenizer is copied."
_KEY_PREFIX: Final = "tokenizer."
_TOKENS_KEY: Final = "tokenizer.ggml.tokens"


@dataclass(frozen=True)
class TokenizerKind:
    """One of llama.cpp's tokenizers, and what it needs beside the list of tokens."""

    model: str  # llama.cpp's name: gpt2 merges bytes, llama works as SentencePiece
    pre: str  # its name for how text is cut before anything merges
    scores: dict[str, float] | None = None  # by token, in place of merges
    space_prefix: bool | None = None  # whether a space is put before text


@dataclass(frozen=True)
class Vocabulary:
    """One token for each row of the embedding, and how text becomes tokens."""

    kind: TokenizerKind
    tokens: list[str]
    types: list[TokenType]
    special: gguf.SpecialVocab  # special tokens, merges, the chat template
    warnings: tuple[str, ...] = ()

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


@dataclass(frozen=True)
class DonatedVocabulary:
    """All keys of another file's tokenizer."""

    fields: dict[str, Any]  # of gguf's reader
    warnings: tuple[str, ...] = ()

    def add_to(self, writer: gguf.GGUFWriter) -> None:
        """Write its keys, unchanged."""
        for key, field in self.fields.items():
            kind, *inner = field.types
            writer.add_key_value(key, field.contents(), kind, sub_type=inner[-1] if inner else None)


def read_vocabulary(folder: Path, rows: int) -> Vocabulary:
    """Translate the tokenizer in a model's folder, for an embedding of `rows`.

    Rows without a token get one that never occurs. Raise `UsageError` for a tokenizer that
    llama.cpp would run in another way.
    """
    path = folder / _FILE
    tokenizer = _read_tokenizer(path)
    added = {token["content"]: token for token in tokenizer.get("added_tokens", ())}
    kind = _recognise(tokenizer, added, path)
    row_of = {**tokenizer["model"]["vocab"], **{text: one["id"] for text, one in added.items()}}
    if (largest := max(row_of.values())) >= rows:
        raise UsageError(
            f"{path}: has a token {largest}, where the embedding has {rows} rows; save the "
            f"tokenizer that belongs to the model, or {_WAY_OUT}"
        )
    tokens, types = [f"[PAD{row}]" for row in range(rows)], [TokenType.UNUSED] * rows
    for text, row in row_of.items():
        tokens[row] = text
        types[row] = _token_type(text, added.get(text), tokenizer, kind)
    special = _special_tokens(folder, merges=kind.scores is None, rows=rows)
    return Vocabulary(kind, tokens, types, special, tuple(_warnings(added, kind)))


def read_donor(path: Path, rows: int) -> DonatedVocabulary:
    """Read a GGUF file's tokenizer; raise `UsageError` unless it has `rows` tokens."""
    if not path.is_file() or not is_gguf(path):
        raise UsageError(f"--donor {path}: is no GGUF file; name one of the same model.")
    try:
        fields = gguf.GGUFReader(path).fields
    except (ValueError, IndexError, KeyError) as error:
        raise UsageError(f"--donor {path}: can't be read ({error}); download it again.") from error
    own = {key: field for key, field in fields.items() if key.startswith(_KEY_PREFIX)}
    tokens = len(own[_TOKENS_KEY].data) if _TOKENS_KEY in own else 0
    if tokens != rows:
        raise UsageError(
            f"--donor {path}: has {tokens} tokens, where the model's embedding has {rows} rows; "
            "name a GGUF file of the same model."
        )
    return DonatedVocabulary(own)


def byte_level_kind(tokenizer: dict[str, Any]) -> TokenizerKind | None:
    """Return the kind of a tokenizer.json that merges bytes; None if llama.cpp lacks it."""
    if tokenizer.get("normalizer") not in _NORMALIZERS:
        return None
    steps = _pre_tokenizer_steps(tokenizer.get("pre_tokenizer"))
    name = PRE_TOKENIZERS.get((steps, bool(tokenizer["model"].get("ignore_merges"))))
    return None if name is None else TokenizerKind("gpt2", name)


def sentencepiece_kind(tokenizer: dict[str, Any], added: AbstractSet[str]) -> TokenizerKind | None:
    """Return the kind of a tokenizer.json that works as SentencePiece; None for any other.

    `added` are the tokens at which text is cut before anything merges.
    """
    prefix = _space_prefix(tokenizer)
    if prefix is None:
        return None
    model = tokenizer["model"]
    scores = merge_scores(model["vocab"], [_merge_pair(merge) for merge in model["merges"]], added)
    return None if scores is None else TokenizerKind("llama", "default", scores, prefix)


def merge_scores(
    vocabulary: Mapping[str, int], merges: list[tuple[str, str]], added: AbstractSet[str]
) -> dict[str, float] | None:
    """Return the scores of all tokens by their merges; None where a merge is missing.

    SentencePiece merges any two tokens that make a third, the highest score first. So each token
    needs all its merges, one behind the other. Tokens in `added` take no part.
    """
    ranks: dict[str, list[int]] = {}
    for rank, (left, right) in enumerate(merges):
        ranks.setdefault(left + right, []).append(rank)
    merging = vocabulary.keys() - added
    for token in merging:
        own, pairs = ranks.get(token, []), _count_pairs(token, merging)
        together = not own or own[-1] - own[0] < pairs
        if len(own) != pairs or not together:
            return None
    lowest = float(-len(merges))  # of tokens that nothing merges to: never compared
    return {token: float(-ranks[token][0]) if token in ranks else lowest for token in vocabulary}


def _read_tokenizer(path: Path) -> dict[str, Any]:
    """Read a tokenizer.json that merges tokens."""
    try:
        tokenizer: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"{path}: can't be read ({error}); {_WAY_OUT}") from error
    model = tokenizer.get("model", {})
    if model.get("type") != "BPE" or not model.get("merges"):
        raise UsageError(f"{path}: merges no tokens, as llama.cpp's tokenizers do; {_WAY_OUT}")
    return tokenizer


def _recognise(tokenizer: dict[str, Any], added: dict[str, Any], path: Path) -> TokenizerKind:
    """Return the kind of a tokenizer; one with a fallback to bytes was made by SentencePiece."""
    model = tokenizer["model"]
    kind: TokenizerKind | None
    if model.get("continuing_subword_prefix") or model.get("end_of_word_suffix"):
        kind = None
    elif model.get("byte_fallback"):
        kind = sentencepiece_kind(tokenizer, added.keys())
    else:
        kind = byte_level_kind(tokenizer)
    if kind is None:
        raise UsageError(
            f"{path}: cuts or merges text in a way that gp export doesn't know from llama.cpp; "
            f"{_WAY_OUT}"
        )
    return kind


def _token_type(
    text: str, added: dict[str, Any] | None, tokenizer: dict[str, Any], kind: TokenizerKind
) -> TokenType:
    """Return how llama.cpp treats a token."""
    if kind.scores is not None and text == tokenizer["model"].get("unk_token"):
        return TokenType.UNKNOWN
    if added is not None:
        return TokenType.CONTROL if added["special"] else TokenType.USER_DEFINED
    is_byte = kind.scores is not None and _BYTE_TOKEN.fullmatch(text) is not None
    return TokenType.BYTE if is_byte else TokenType.NORMAL


def _special_tokens(folder: Path, *, merges: bool, rows: int) -> gguf.SpecialVocab:
    """Read special tokens; try the tokenizer to see which of them it puts around text."""
    special = gguf.SpecialVocab(folder, load_merges=merges, n_vocab=rows)
    tokenizer: Any = load_tokenizer(folder)
    ids = tokenizer("a").input_ids
    special.add_special_token = {
        "bos": len(ids) > 1 and ids[0] == tokenizer.bos_token_id,
        "eos": len(ids) > 1 and ids[-1] == tokenizer.eos_token_id,
    }
    return special


def _warnings(added: dict[str, Any], kind: TokenizerKind) -> Iterator[str]:
    """Yield the rare differences between llama.cpp and transformers."""
    stripping = [text for text, one in added.items() if one.get("lstrip") or one.get("rstrip")]
    if stripping:
        yield (
            f"spaces beside {', '.join(stripping[:3])} belong to these tokens in transformers, and "
            "not in llama.cpp."
        )
    if kind.space_prefix:
        yield (
            "llama.cpp puts a space before text even if it begins with one, and behind special "
            "tokens, as SentencePiece did; transformers may not."
        )


def _pre_tokenizer_steps(part: Any) -> Steps:
    """Return what a pre-tokenizer does, step by step."""
    match part:
        case {"type": "Sequence", "pretokenizers": [*parts]}:
            return tuple(step for one in parts for step in _pre_tokenizer_steps(one))
        case {"type": "ByteLevel", "add_prefix_space": False, **how}:
            return (WORDS_OF_BYTES if how.get("use_regex", True) else BYTES,)
        case {"type": "Digits", "individual_digits": True}:
            return (DIGITS,)
        case {
            "type": "Split",
            "behavior": "Isolated",
            "invert": False,
            "pattern": {"Regex": str(pattern)},
        }:
            return (pattern,)
        case _:
            return (f"unknown: {part}",)


def _space_prefix(tokenizer: dict[str, Any]) -> bool | None:
    """Whether a space is put before text; None where text is changed in any other way."""
    match tokenizer.get("normalizer"), tokenizer.get("pre_tokenizer"):
        case {"type": "Sequence", "normalizers": [first, second]}, None:
            return True if (first, second) == (_PREPEND, _REPLACE) else None
        case normalizer, None:
            return False if normalizer == _REPLACE else None
        case None, {"type": "Metaspace", "replacement": "▁", "split": False, **how}:
            return how.get("prepend_scheme") != "never"
        case _:
            return None


def _merge_pair(merge: str | list[str]) -> tuple[str, str]:
    """Return two tokens that merge; older files write them with a space between."""
    left, right = merge.split(" ") if isinstance(merge, str) else merge
    return left, right


def _count_pairs(token: str, merging: AbstractSet[str]) -> int:
    """Count the pairs of tokens that make this one."""
    cuts = ((token[:place], token[place:]) for place in range(1, len(token)))
    return sum(left in merging and right in merging for left, right in cuts)
