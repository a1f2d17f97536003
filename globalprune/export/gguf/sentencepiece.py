"""Tokenizers that SentencePiece made (Llama 2, Mistral), told from what became of them.

llama.cpp merges what gives the best-scored token, transformers the pair that stands first in a
list. Both do the same where the list has every pair that makes a token, the pairs of one token
together: then the places in the list are scores. Where it hasn't, nothing is guessed.
"""

import re
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from typing import Any, Final

from globalprune.export.gguf.tokenizer_kind import TokenizerKind

SPACE: Final = "▁"
_BYTE: Final = re.compile(r"<0x[0-9A-F]{2}>")
_REPLACE: Final = {"type": "Replace", "pattern": {"String": " "}, "content": SPACE}
_PREPEND: Final = {"type": "Prepend", "prepend": SPACE}


def sentencepiece(tokenizer: dict[str, Any], added: AbstractSet[str]) -> TokenizerKind | None:
    """The kind of a tokenizer.json that does as SentencePiece; None where it does anything else.

    `added` are the tokens that text is cut at before anything merges.
    """
    prefix = _space_prefix(tokenizer)
    if prefix is None:
        return None
    model = tokenizer["model"]
    scores = scores_of(model["vocab"], [_pair(merge) for merge in model["merges"]], added)
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


def scores_of(
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
