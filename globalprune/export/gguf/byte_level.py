"""How byte-level tokenizers cut text before they merge, and what llama.cpp calls each way.

llama.cpp has the patterns built in and finds them by a name, so a tokenizer is recognised by what
its tokenizer.json does, literally, or not at all: a name that is nearly right gives other tokens.
"""

from typing import Any, Final

from globalprune.export.gguf.tokenizer_kind import TokenizerKind

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
NAMES: Final[dict[tuple[Steps, bool], str]] = {
    ((LLAMA_3, BYTES), True): "llama-bpe",
    ((LLAMA_3, BYTES), False): "smaug-bpe",
    ((QWEN_2, BYTES), False): "qwen2",
    ((TEKKEN, BYTES), True): "tekken",
    ((DIGITS, WORDS_OF_BYTES), False): "smollm",
    ((WORDS_OF_BYTES,), False): "gpt-2",
}
_UNTOUCHED: Final = (None, {"type": "NFC"})  # llama.cpp composes no letters; Qwen's converters know


def byte_level(tokenizer: dict[str, Any]) -> TokenizerKind | None:
    """The kind of a tokenizer.json whose way to cut text has a name in llama.cpp; else None."""
    if tokenizer.get("normalizer") not in _UNTOUCHED:
        return None
    steps = _steps(tokenizer.get("pre_tokenizer"))
    name = NAMES.get((steps, bool(tokenizer["model"].get("ignore_merges"))))
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
