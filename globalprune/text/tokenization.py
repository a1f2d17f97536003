"""Documents, and their token ids."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, assert_never

import numpy as np
import numpy.typing as npt
from transformers import PreTrainedTokenizerBase

from globalprune.artifacts.records import digest_bytes
from globalprune.errors import TextError, library_errors
from globalprune.progress import Progress
from globalprune.text.files import local_rows
from globalprune.text.readers import (
    MEASURED_COLUMNS,
    Column,
    TextRows,
    TextUse,
    builtin_rows,
    hub_rows,
)
from globalprune.text.source import BuiltinText, HubText, LocalText, TextSource

_NULS: Final = 10  # one character in so many may be a NUL


@dataclass(frozen=True)
class Document:
    """A text that is not empty; the digest is of its UTF-8 bytes."""

    text: str
    digest: str


def open_rows(
    source: TextSource,
    part: TextUse,
    *,
    shuffle_seed: int | None,
    wanted: Sequence[Column] = MEASURED_COLUMNS,
) -> TextRows:
    """Open any source; only streams are shuffled, since local text is cut at seeded positions."""
    match source:
        case LocalText():
            return local_rows(source.paths, wanted)
        case HubText():
            return hub_rows(source, shuffle_seed, wanted)
        case BuiltinText():
            return builtin_rows(part)
        case _:
            assert_never(source)


def read_documents(rows: TextRows) -> Iterator[Document]:
    """The documents of rows of text; empty ones are passed over, since they hold no token."""
    for where, row in rows.values:
        value = row[rows.column]
        if not isinstance(value, str):
            found = "null" if value is None else f"a {type(value).__name__}"
            raise TextError(f"{where}: `text` is {found}, not a string; drop or mend that row.")
        if value:
            yield Document(value, digest_bytes(encode_utf8(value, where)))


def encode_utf8(text: str, where: str) -> bytes:
    """The text's bytes, if it is one.

    JSON can spell half a surrogate pair, which no tokenizer takes. Where NULs are many, UTF-16 was
    read as UTF-8; scraped text may have single ones.
    """
    if text.count("\0") * _NULS > len(text):
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


Ids = npt.NDArray[np.int64]
BLOCK_CHARACTERS: Final = 2**16  # characters that are tokenised at once
MAX_TOKENS: Final = 2**26  # of one reading; half a gigabyte of ids
_CHARACTERS_A_TOKEN: Final = 4  # a guess that only the progress bar relies on


@dataclass(frozen=True)
class TokenSequence:
    """All ids in a row, `[T]`, and for each document its digest and where it starts."""

    ids: Ids
    starts: Ids
    digests: tuple[str, ...]

    def documents_in(self, positions: Ids, length: int) -> tuple[str, ...]:
        """The digests of the documents that spans of `length` at these positions touch."""
        first = np.searchsorted(self.starts, positions, side="right") - 1
        last = np.searchsorted(self.starts, positions + length - 1, side="right") - 1
        touched = {index for a, b in zip(first, last, strict=True) for index in range(a, b + 1)}
        return tuple(self.digests[index] for index in sorted(touched))


def tokenise(
    documents: Iterable[Document],
    tokenizer: PreTrainedTokenizerBase,
    *,
    name: str,
    vocab_size: int,
    enough: int | None,
    progress: Progress,
    joined_by_eos: bool = True,
) -> TokenSequence:
    """Tokenise until `enough` ids are there; None takes all there is, up to `MAX_TOKENS`."""
    wanted = MAX_TOKENS if enough is None else min(enough, MAX_TOKENS)
    blocks = -(-wanted * _CHARACTERS_A_TOKEN // BLOCK_CHARACTERS)
    pieces: list[Ids] = []
    starts: list[int] = []
    digests: list[str] = []
    count = 0
    for block in progress(_blocks(documents), total=blocks, label="tokenising", unit="blocks"):
        for document, ids in zip(block, _ids_of(block, tokenizer, name), strict=True):
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
    if enough is None and count >= MAX_TOKENS:
        raise TextError(f"{name}: has more than {MAX_TOKENS:,} tokens; say --samples.")
    check_vocabulary(pieces, tokenizer, vocab_size, name)
    return TokenSequence(np.concatenate(pieces), np.array(starts, np.int64), tuple(digests))


def adds_bos(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether the tokenizer starts every text with BOS by itself."""
    if tokenizer.bos_token_id is None:
        return False
    ids: list[int] = _encode(tokenizer, ["x"], add_special_tokens=True)[0]
    return bool(ids) and ids[0] == tokenizer.bos_token_id


def _blocks(documents: Iterable[Document]) -> Iterator[list[Document]]:
    """Documents in handfuls, since fast tokenizers work on several at once."""
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


def _ids_of(block: list[Document], tokenizer: PreTrainedTokenizerBase, name: str) -> list[Ids]:
    """The ids of each document of a block."""
    texts = [document.text for document in block]
    refused = f"{name}: the model's tokenizer doesn't take the text"
    with library_errors(TextError, refused, "mend the text, or the tokenizer."):
        encoded = _encode(tokenizer, texts, add_special_tokens=False)
    return [np.array(ids, dtype=np.int64) for ids in encoded]


def _encode(tokenizer: Any, texts: list[str], *, add_special_tokens: bool) -> list[list[int]]:
    """The tokenizer's ids; not verbose, or it warns of texts longer than the model takes."""
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
    """The ids behind an EOS; a tokenizer without one lets documents follow each other."""
    eos = tokenizer.eos_token_id
    return ids if eos is None else np.concatenate([np.array([eos], np.int64), ids])


def check_vocabulary(
    pieces: Iterable[Ids], tokenizer: PreTrainedTokenizerBase, vocab_size: int, name: str
) -> None:
    """Refuse ids that the model has no embedding for: the tokenizer is another model's."""
    largest = max(int(piece.max()) for piece in pieces)
    if adds_bos(tokenizer):  # it will lead every window
        largest = max(largest, tokenizer.bos_token_id)
    if largest >= vocab_size:
        raise TextError(
            f"{name}: the tokenizer gives id {largest} "
            f"({tokenizer.convert_ids_to_tokens(largest)!r}), but the model has only {vocab_size} "
            "embeddings by vocab_size in its config.json; use the model's own tokenizer, without "
            "tokens added to it later."
        )
