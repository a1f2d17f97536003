"""Local files as rows: .txt and .jsonl here, .parquet and .arrow in tables.py.

Files are read lazily: a file of 50 GB costs no more than what is taken from it.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import Any, Final

from globalprune.artifacts.records import digest_json
from globalprune.errors import TextError
from globalprune.text.rows import TO_MEASURE, Column, Rows, choose_column
from globalprune.text.tables import table_rows

# A .txt file is one document; a longer one is read in pieces of this length, each a document, so
# that memory is bounded and whoever reads the same file sees the same documents.
PIECE: Final = 4 * 2**20  # characters
LONGEST_LINE: Final = 2**26  # characters of a row; more is no row, but a file of another kind


def local_rows(paths: Sequence[Path], wanted: Sequence[Column] = TO_MEASURE) -> Rows:
    """Read the files one after the other; all must hold the same column."""
    first = _file_rows(paths[0], wanted)

    def values() -> Iterator[tuple[str, Mapping[str, object]]]:
        yield from first.values
        for path in paths[1:]:
            rows = _file_rows(path, wanted)
            if rows.column != first.column:
                raise TextError(
                    f"{path}: holds `{rows.column}`, but {paths[0].name} holds `{first.column}`; "
                    "keep documents and windows in different folders."
                )
            yield from rows.values

    return Rows(first.column, values())


def files_digest(paths: Sequence[Path]) -> str:
    """`sha256:…` of the files in their order, byte for byte."""
    digests = []
    for path in paths:
        with path.open("rb") as file:
            digests.append(hashlib.file_digest(file, "sha256").hexdigest())
    return digest_json(digests)


def _file_rows(path: Path, wanted: Sequence[Column]) -> Rows:
    """Open one file by its suffix."""
    if path.suffix == ".txt":
        return Rows(Column.TEXT, ((str(path), {Column.TEXT: piece}) for piece in _pieces(path)))
    if path.suffix == ".jsonl":
        return _json_rows(path, wanted)
    return table_rows(path, wanted)


def _pieces(path: Path) -> Iterator[str]:
    """The file's text in pieces of at most `PIECE` characters."""
    try:
        with path.open(encoding="utf-8-sig") as file:
            while piece := file.read(PIECE):
                if "\0" in piece:
                    raise _with_nuls(str(path))
                yield piece
    except (OSError, UnicodeDecodeError) as error:
        raise _unreadable(path, error) from error


def _json_rows(path: Path, wanted: Sequence[Column]) -> Rows:
    """The rows of a .jsonl file; the first line says which column is read."""
    objects = _json_objects(path)
    first = next(objects, None)
    if first is None:
        raise TextError(f"{path}: is empty; every line should be an object with a `text`.")
    column = choose_column(first[1], first[0], wanted)

    def values() -> Iterator[tuple[str, Mapping[str, object]]]:
        yield first
        for where, row in objects:
            if column not in row:
                raise TextError(
                    f"{where}: has no `{column}` (found {', '.join(row) or 'no key'}), which the "
                    "lines before have; give every line the same keys."
                )
            yield where, row

    return Rows(column, values())


def _json_objects(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each line's object and its line number; blank lines are passed over."""
    try:
        with path.open(encoding="utf-8-sig") as file:
            for number in count(1):
                where = f"{path}, line {number}"
                line = file.readline(LONGEST_LINE + 1)
                if not line:
                    return
                if len(line) > LONGEST_LINE:
                    raise TextError(
                        f"{where}: is longer than {LONGEST_LINE:,} characters, so it is no row; a "
                        ".jsonl file holds one object a line."
                    )
                if line.strip():
                    yield where, _json_object(line, where)
    except (OSError, UnicodeDecodeError) as error:
        raise _unreadable(path, error) from error


def _json_object(line: str, where: str) -> dict[str, Any]:
    """Parse one line."""
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as error:
        if "\0" in line:
            raise _with_nuls(where) from error
        raise TextError(f"{where}: is not JSON ({error}); mend or drop the line.") from error
    if not isinstance(value, dict):
        raise TextError(
            f"{where}: is a {type(value).__name__}, not an object; "
            'every line should look like {"text": "…"}.'
        )
    return value


def _with_nuls(where: str) -> TextError:
    """Say of what a text with NULs is: UTF-16 without a mark is valid UTF-8, half of it NULs."""
    return TextError(
        f"{where}: holds NUL characters, so it is no text in UTF-8 (UTF-16 has them between its "
        "letters, and so have binary files); convert it to UTF-8."
    )


def _unreadable(path: Path, error: OSError | UnicodeDecodeError) -> TextError:
    """Say why a file can't be read."""
    if isinstance(error, UnicodeDecodeError):
        return TextError(
            f"{path}: is not UTF-8 (byte 0x{error.object[error.start]:02x}: {error.reason}); "
            "convert it to UTF-8."
        )
    return TextError(f"{path}: can't be read ({error.strerror or error}).")
