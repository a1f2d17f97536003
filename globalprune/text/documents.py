"""Documents of a source: strings that are text, each with the digest that tells it again."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, assert_never

from globalprune.artifacts.records import digest_bytes
from globalprune.errors import TextError
from globalprune.text.builtin import Part, builtin_rows
from globalprune.text.files import local_rows
from globalprune.text.hub import hub_rows
from globalprune.text.rows import TO_MEASURE, Column, Rows
from globalprune.text.source import BuiltinText, HubText, LocalText, TextSource

_NULS: Final = 10  # one character in so many may be a NUL


@dataclass(frozen=True)
class Document:
    """A text that is not empty; the digest is of its UTF-8 bytes."""

    text: str
    digest: str


def open_rows(
    source: TextSource,
    part: Part,
    *,
    shuffle_seed: int | None,
    wanted: Sequence[Column] = TO_MEASURE,
) -> Rows:
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


def read_documents(rows: Rows) -> Iterator[Document]:
    """The documents of rows of text; empty ones are passed over, since they hold no token."""
    for where, row in rows.values:
        value = row[rows.column]
        if not isinstance(value, str):
            found = "null" if value is None else f"a {type(value).__name__}"
            raise TextError(f"{where}: `text` is {found}, not a string; drop or mend that row.")
        if value:
            yield Document(value, digest_bytes(utf8(value, where)))


def utf8(text: str, where: str) -> bytes:
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
