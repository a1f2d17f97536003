"""Documents as token ids, and whether a tokenizer belongs to the model."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from transformers import PreTrainedTokenizerBase

from globalprune.artifacts.records import digest_bytes
from globalprune.errors import TextError, library_errors
from globalprune.progress import Progress
from globalprune.text.rows import Ids, TextRows

BLOCK_CHARACTERS: Final = 2**16  # tokenised at once
MAX_TOKENS: Final = 2**26  # of one source; half a gigabyte of ids
_CHARACTERS_PER_TOKEN: Final = 4  # an estimate, used by the progress bar alone
_CHARACTERS_PER_NUL: Final = 10  # scraped text may have single NULs, never more than this


@dataclass(frozen=True)
class Document:
    """A text that is not empty; the digest is of its UTF-8 bytes."""

    text: str
    digest: str


@dataclass(frozen=True)
class TokenSequence:
    """The ids of all documents in a row, `[T]`; each document's digest, and where it starts."""

    ids: Ids
    starts: Ids
    digests: tuple[str, ...]

    def documents_in(self, positions: Ids, length: int) -> tuple[str, ...]:
        """Return the digests of the documents that spans of `length` at `positions` touch."""
        first = np.searchsorted(self.starts, positions, side="right") - 1
        last = np.searchsorted(self.starts, positions + length - 1, side="right") - 1
        touched = {index for a, b in zip(first, last, strict=True) for index in range(a, b + 1)}
        return tuple(self.digests[index] for index in sorted(touched))


def read_documents(rows: TextRows) -> Iterator[Document]:
    """Yield the documents of rows of text; empty ones are skipped, since they hold no token."""
    for where, row in rows.values:
        value = row[rows.column]
        if not isinstance(value, str):
            kind = "null" if value is None else f"a {type(value).__name__}"
            raise TextError(f"{where}: `text` is {kind}, not a string; drop or mend that row.")
        if value:
            yield Document(value, digest_bytes(encode_utf8(value, where)))


def tokenise(
    documents: Iterable[Document],
    tokenizer: PreTrainedTokenizerBase,
    *,
    name: str,
    vocab_size: int,
    min_tokens: int | None,
    progress: Progress,
    joined_by_eos: bool = True,
) -> TokenSequence:
    """Tokenise documents until there are `min_tokens` ids; None takes all documents.

    Raise `TextError` for text without a token, for more than `MAX_TOKENS` where all are taken, and
    for a tokenizer that isn't the model's.
    """
    wanted = MAX_TOKENS if min_tokens is None else min(min_tokens, MAX_TOKENS)
    blocks = -(-wanted * _CHARACTERS_PER_TOKEN // BLOCK_CHARACTERS)
    pieces: list[Ids] = []
    starts: list[int] = []
    digests: list[str] = []
    count = 0
    for block in progress(_blocks(documents), total=blocks, label="tokenising", unit="blocks"):
        for document, ids in zip(block, _block_ids(block, tokenizer, name), strict=True):
            if not len(ids):
                continue
            joined = _after_eos(ids, tokenizer) if pieces and joined_by_eos else ids
            starts.append(count + len(joined) - len(ids))
            pieces.append(joined)
            digests.append(document.digest)
            count += len(joined)
        if count >= wanted:
            break
    if not pieces:
        raise TextError(f"{name}: holds no text; every document is empty.")
    if min_tokens is None and count >= MAX_TOKENS:
        raise TextError(f"{name}: has more than {MAX_TOKENS:,} tokens; say --samples.")
    check_vocabulary(pieces, tokenizer, vocab_size, name)
    return TokenSequence(np.concatenate(pieces), np.array(starts, np.int64), tuple(digests))


def adds_bos(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether the tokenizer starts every text with BOS by itself."""
    if tokenizer.bos_token_id is None:
        return False
    ids: list[int] = _encode(tokenizer, ["x"], add_special_tokens=True)[0]
    return bool(ids) and ids[0] == tokenizer.bos_token_id


def check_vocabulary(
    pieces: Iterable[Ids], tokenizer: PreTrainedTokenizerBase, vocab_size: int, name: str
) -> None:
    """Raise `TextError` for ids without an embedding: the tokenizer is another model's."""
    largest = max(int(piece.max()) for piece in pieces)
    if adds_bos(tokenizer):  # every window will start with it
        largest = max(largest, tokenizer.bos_token_id)
    if largest >= vocab_size:
        raise TextError(
            f"{name}: the tokenizer gives id {largest} "
            f"({tokenizer.convert_ids_to_tokens(largest)!r}), but the model has only {vocab_size} "
            "embeddings by vocab_size in its config.json; use the model's own tokenizer, without "
            "tokens added to it later."
        )


def encode_utf8(text: str, where: str) -> bytes:
    """Return the text's UTF-8 bytes; raise `TextError` for what is no text.

    JSON can spell half a surrogate pair, which no tokenizer takes. Many NULs are UTF-16 that was
    read as UTF-8.
    """
    if text.count("\0") * _CHARACTERS_PER_NUL > len(text):
        raise TextError(
            f"{where}: {text.count(chr(0)):,} of its {len(text):,} characters are NULs, so it is "
            "no text in UTF-8, but probably in UTF-16; convert it to UTF-8."
        )
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise TextError(
            f"{where}: holds half a surrogate pair at character {error.start}, which is not "
            "Unicode text; mend or drop that row."
        ) from error


def _blocks(documents: Iterable[Document]) -> Iterator[list[Document]]:
    """Group documents into blocks, since fast tokenizers work on several at once."""
    block: list[Document] = []
    size = 0
    for document in documents:
        block.append(document)
        size += len(document.text)
        if size >= BLOCK_CHARACTERS:
            yield block
            block, size = [], 0
    if block:
        yield block


def _block_ids(block: list[Document], tokenizer: PreTrainedTokenizerBase, name: str) -> list[Ids]:
    """Return the ids of each document of a block."""
    texts = [document.text for document in block]
    refused = f"{name}: the model's tokenizer doesn't take the text"
    with library_errors(TextError, refused, "mend the text, or the tokenizer."):
        encoded = _encode(tokenizer, texts, add_special_tokens=False)
    return [np.array(ids, dtype=np.int64) for ids in encoded]


def _encode(tokenizer: Any, texts: list[str], *, add_special_tokens: bool) -> list[list[int]]:
    """Return the tokenizer's ids; `verbose` would warn of texts longer than the model takes."""
    encoded = tokenizer(
        texts,
        add_special_tokens=add_special_tokens,
        return_attention_mask=False,
        padding=False,
        truncation=False,
        verbose=False,
    )
    ids: list[list[int]] = encoded["input_ids"]
    return ids


def _after_eos(ids: Ids, tokenizer: PreTrainedTokenizerBase) -> Ids:
    """Return the ids behind an EOS, or alone where the tokenizer has none."""
    eos = tokenizer.eos_token_id
    return ids if eos is None else np.concatenate([np.array([eos], np.int64), ids])
