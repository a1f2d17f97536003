"""Documents of a source: strings that are text, each with the digest that tells it again."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import assert_never

from globalprune.artifacts.provenance import digest_bytes
from globalprune.errors import TextError
from globalprune.text.builtin import Part, builtin_rows
from globalprune.text.files import local_rows
from globalprune.text.hub import hub_rows
from globalprune.text.rows import TO_MEASURE, Column, Rows
from globalprune.text.source import BuiltinText, HubText, LocalText, TextSource


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
    for where, value in rows.values:
        if not isinstance(value, str):
            found = "null" if value is None else f"a {type(value).__name__}"
            raise TextError(f"{where}: `text` is {found}, not a string; drop or mend that row.")
        if value:
            yield Document(value, digest_bytes(_utf8(value, where)))


def _utf8(text: str, where: str) -> bytes:
    """The text's bytes; JSON can spell half a surrogate pair, which no tokenizer takes."""
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise TextError(
            f"{where}: holds half a surrogate pair at character {error.start}, which is not "
            "Unicode text; mend or drop that row."
        ) from error
