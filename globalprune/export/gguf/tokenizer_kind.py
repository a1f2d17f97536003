"""What llama.cpp must know to run a tokenizer the way that its tokenizer.json says."""

from dataclasses import dataclass


@dataclass(frozen=True)
class TokenizerKind:
    """One of llama.cpp's kinds, and what it needs beyond the list of tokens."""

    model: str  # llama.cpp's word: gpt2 merges bytes, llama does as SentencePiece
    pre: str  # its name for how text is cut before anything merges
    scores: dict[str, float] | None = None  # by token, in place of merges
    space_prefix: bool | None = None  # whether a space is put before text
