"""tokenizer.json as the vocabulary of a GGUF file, or one donated by another file."""

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
from globalprune.models.loading import load_tokenizer


@dataclass(frozen=True)
class TokenizerKind:
    """One of llama.cpp's kinds, and what it needs beyond the list of tokens."""

    model: str  # llama.cpp's word: gpt2 merges bytes, llama does as SentencePiece
    pre: str  # its name for how text is cut before anything merges
    scores: dict[str, float] | None = None  # by token, in place of merges
    space_prefix: bool | None = None  # whether a space is put before text


Steps = tuple[str, ...]
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

# the second says whether a piece that is a token by itself is taken before any merge
PRE_TOKENIZERS: Final[dict[tuple[Steps, bool], str]] = {
    ((LLAMA_3, BYTES), True): "llama-bpe",
    ((LLAMA_3, BYTES), False): "smaug-bpe",
    ((QWEN_2, BYTES), False): "qwen2",
    ((TEKKEN, BYTES), True): "tekken",
    ((DIGITS, WORDS_OF_BYTES), False): "smollm",
    ((WORDS_OF_BYTES,), False): "gpt-2",
}
_UNTOUCHED: Final = (None, {"type": "NFC"})  # llama.cpp composes no letters; Qwen's converters know


def byte_level_kind(tokenizer: dict[str, Any]) -> TokenizerKind | None:
    """The kind of a tokenizer.json whose way to cut text has a name in llama.cpp; else None."""
    if tokenizer.get("normalizer") not in _UNTOUCHED:
        return None
    steps = _steps(tokenizer.get("pre_tokenizer"))
    name = PRE_TOKENIZERS.get((steps, bool(tokenizer["model"].get("ignore_merges"))))
    return None if name is None else TokenizerKind("gpt2", name)


def _steps(part: Any) -> Steps:
    """What a pre-tokenizer does, step by step."""
    match part:
        case {"type": "Sequence", "pretokenizers": [*parts]}:
            return tuple(step for one in parts for step in _steps(one))
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


SPACE: Final = "▁"
_BYTE: Final = re.compile(r"<0x[0-9A-F]{2}>")
_REPLACE: Final = {"type": "Replace", "pattern": {"String": " "}, "content": SPACE}
_PREPEND: Final = {"type": "Prepend", "prepend": SPACE}


def sentencepiece_kind(tokenizer: dict[str, Any], added: AbstractSet[str]) -> TokenizerKind | None:
    """The kind of a tokenizer.json that does as SentencePiece; None where it does anything else.

    `added` are the tokens that text is cut at before anything merges.
    """
    prefix = _space_prefix(tokenizer)
    if prefix is None:
        return None
    model = tokenizer["model"]
    scores = merge_scores(model["vocab"], [_pair(merge) for merge in model["merges"]], added)
    return None if scores is None else TokenizerKind("llama", "default", scores, prefix)


def is_byte(token: str) -> bool:
    """Whether a token stands for a byte that no other token holds: `<0x0A>`."""
    return _BYTE.fullmatch(token) is not None


def _pair(merge: str | list[str]) -> tuple[str, str]:
    """Two tokens that merge; older files write them with a space between."""
    left, right = merge.split(" ") if isinstance(merge, str) else merge
    return left, right


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


def merge_scores(
    vocabulary: Mapping[str, int], merges: list[tuple[str, str]], apart: AbstractSet[str]
) -> dict[str, float] | None:
    """The scores of all tokens, by merges; None where the merges leave a pair out.

    Tokens `apart`, which text is cut at before anything merges, take no part.
    """
    ranks: dict[str, list[int]] = {}
    for rank, (left, right) in enumerate(merges):
        ranks.setdefault(left + right, []).append(rank)
    merging = vocabulary.keys() - apart
    for token in merging:
        found, pairs = ranks.get(token, []), _pairs(token, merging)
        together = not found or found[-1] - found[0] < pairs
        if len(found) != pairs or not together:
            return None
    lowest = float(-len(merges))  # of what nothing merges to: never compared
    return {token: float(-ranks[token][0]) if token in ranks else lowest for token in vocabulary}


def _pairs(token: str, merging: AbstractSet[str]) -> int:
    """How many times two tokens make this one."""
    cuts = ((token[:place], token[place:]) for place in range(1, len(token)))
    return sum(left in merging and right in merging for left, right in cuts)


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
    return Vocabulary(kind, tokens, types, special, tuple(_warnings(added, kind)))


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
        kind = sentencepiece_kind(tokenizer, added.keys())
    else:
        kind = byte_level_kind(tokenizer)
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


def _warnings(added: dict[str, Any], kind: TokenizerKind) -> Iterator[str]:
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


_PREFIX = "tokenizer."
_TOKENS = "tokenizer.ggml.tokens"


@dataclass(frozen=True)
class DonatedVocabulary:
    """All keys of another file's tokenizer."""

    fields: dict[str, Any]  # the reader's own
    warnings: tuple[str, ...] = ()

    def add_to(self, writer: gguf.GGUFWriter) -> None:
        """Write them as they stand there."""
        for key, field in self.fields.items():
            kind, *inner = field.types
            writer.add_key_value(key, field.contents(), kind, sub_type=inner[-1] if inner else None)


def read_donor(path: Path, rows: int) -> DonatedVocabulary:
    """Read a file's tokenizer; raise `UsageError` unless it has as many tokens as `rows`."""
    if not path.is_file() or not is_gguf(path):
        raise UsageError(f"--donor {path}: is no GGUF file; name one of the same model.")
    try:
        fields = gguf.GGUFReader(path).fields
    except (ValueError, IndexError, KeyError) as error:
        raise UsageError(f"--donor {path}: can't be read ({error}); download it again.") from error
    own = {key: field for key, field in fields.items() if key.startswith(_PREFIX)}
    tokens = len(own[_TOKENS].data) if _TOKENS in own else 0
    if tokens != rows:
        raise UsageError(
            f"--donor {path}: has {tokens} tokens, where the model's embedding has {rows} rows; "
            "name a GGUF file of the same model."
        )
    return DonatedVocabulary(own)
