"""Local texts as rows: plain text, JSON lines, CSV, Parquet and Arrow."""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet

from globalprune.artifacts.records import digest_json
from globalprune.errors import TextError
from globalprune.text.readers import (
    MEASURED_COLUMNS,
    TOKEN_COLUMNS,
    TOOLS,
    Column,
    TextRows,
    choose_column,
)

BATCH_ROWS: Final = 256  # rows
_ARROW_FILE_MAGIC: Final = b"ARROW1"  # what lacks it is a stream, as `datasets` writes them

_LISTS: Final = (  # as tools write them: arrays of one length are fixed in size
    pa.types.is_list,
    pa.types.is_large_list,
    pa.types.is_fixed_size_list,
    pa.types.is_list_view,
    pa.types.is_large_list_view,
)

# A table's schema, and what reads some of its columns as a sequence of batches.
_Table = tuple[Any, Callable[[list[str]], Iterator[Any]]]


def table_rows(path: Path, wanted: Sequence[Column] = MEASURED_COLUMNS) -> TextRows:
    """Open a table; its schema says which columns are read."""
    try:
        schema, batches = _parquet(path) if path.suffix == ".parquet" else _arrow(path)
        names = schema.names
    except Exception as error:  # a damaged file may raise anything
        raise _unreadable_table(path, error) from error
    column = choose_column(names, str(path), wanted)
    needed = [str(column), *(name for name in names if _belongs(name, column, schema, names))]
    for name in needed:
        if names.count(name) > 1:
            raise TextError(
                f"{path}: has {names.count(name)} columns `{name}`; name only one of them so."
            )
    return TextRows(column, _values(path, batches(needed)))


def _belongs(name: str, column: Column, schema: Any, names: list[str]) -> bool:
    """Whether a column beside the one that is read may change what its rows mean."""
    if name == column or column is Column.TEXT:
        return False
    if column is Column.MESSAGES:
        return name == TOOLS
    if name in TOKEN_COLUMNS:
        return True
    kind = schema.types[names.index(name)]
    if not any(is_such(kind) for is_such in _LISTS):
        return False
    inner = kind.value_type
    return bool(
        pa.types.is_integer(inner) or pa.types.is_floating(inner) or pa.types.is_boolean(inner)
    )


def _parquet(path: Path) -> _Table:
    """A Parquet file, read a few hundred rows at a time."""
    file = pyarrow.parquet.ParquetFile(path)

    def batches(names: list[str]) -> Iterator[Any]:
        for batch in file.iter_batches(batch_size=BATCH_ROWS, columns=names):
            yield {name: batch.column(name) for name in names}

    return file.schema_arrow, batches


def _arrow(path: Path) -> _Table:
    """An Arrow IPC file or stream, mapped rather than loaded."""
    source = pa.memory_map(str(path))
    is_file = source.read(len(_ARROW_FILE_MAGIC)) == _ARROW_FILE_MAGIC
    source.seek(0)
    reader = pyarrow.ipc.open_file(source) if is_file else pyarrow.ipc.open_stream(source)

    def batches(names: list[str]) -> Iterator[Any]:
        found = map(reader.get_batch, range(reader.num_record_batches)) if is_file else reader
        for batch in found:
            columns = {name: batch.column(name) for name in names}
            for column in columns.values():
                _refuse_bad_offsets(column)
            yield columns

    return reader.schema, batches


def _refuse_bad_offsets(column: Any) -> None:
    """Raise pyarrow's error for offsets that point outside the file: reading there would crash."""
    try:
        column.validate(full=True)
    except pa.ArrowInvalid as error:
        if "UTF8" not in str(error):  # which is told with its row, later
            raise


def _values(path: Path, batches: Iterator[Any]) -> Iterator[tuple[str, dict[str, object]]]:
    """Each row's columns, with its number counted from 0 as pandas would."""
    row = 0
    try:
        for columns in batches:
            for scalars in zip(*columns.values(), strict=True):
                values = [scalar.as_py() for scalar in scalars]
                yield f"{path}, row {row}", dict(zip(columns, values, strict=True))
                row += 1
    except UnicodeDecodeError as error:
        raise TextError(
            f"{path}, row {row}: is not UTF-8 (byte 0x{error.object[error.start]:02x}: "
            f"{error.reason}); write the table anew from UTF-8."
        ) from error
    except GeneratorExit:
        raise
    except Exception as error:
        raise _unreadable_table(path, error) from error


def _unreadable_table(path: Path, error: Exception) -> TextError:
    """Say why a table can't be read."""
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    return TextError(
        f"{path}: can't be read as {path.suffix.removeprefix('.')} ({reason}); write it anew."
    )


# A .txt file is one document; a longer one is read in pieces of this length, each a document, so
# that memory is bounded and whoever reads the same file sees the same documents.
PIECE_CHARACTERS: Final = 4 * 2**20  # characters
MAX_LINE_CHARACTERS: Final = (
    2**26
)  # characters of a row; more is no row, but a file of another kind


def local_rows(paths: Sequence[Path], wanted: Sequence[Column] = MEASURED_COLUMNS) -> TextRows:
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

    return TextRows(first.column, values())


def files_digest(paths: Sequence[Path]) -> str:
    """`sha256:…` of the files in their order, byte for byte."""
    digests = []
    for path in paths:
        with path.open("rb") as file:
            digests.append(hashlib.file_digest(file, "sha256").hexdigest())
    return digest_json(digests)


def _file_rows(path: Path, wanted: Sequence[Column]) -> TextRows:
    """Open one file by its suffix."""
    if path.suffix == ".txt":
        return TextRows(Column.TEXT, ((str(path), {Column.TEXT: piece}) for piece in _pieces(path)))
    if path.suffix == ".jsonl":
        return _json_rows(path, wanted)
    return table_rows(path, wanted)


def _pieces(path: Path) -> Iterator[str]:
    """The file's text in pieces of at most `PIECE_CHARACTERS` characters."""
    try:
        with path.open(encoding="utf-8-sig") as file:
            while piece := file.read(PIECE_CHARACTERS):
                if "\0" in piece:
                    raise _with_nuls(str(path))
                yield piece
    except (OSError, UnicodeDecodeError) as error:
        raise _unreadable_text(path, error) from error


def _json_rows(path: Path, wanted: Sequence[Column]) -> TextRows:
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

    return TextRows(column, values())


def _json_objects(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each line's object and its line number; blank lines are passed over."""
    try:
        with path.open(encoding="utf-8-sig") as file:
            for number in count(1):
                where = f"{path}, line {number}"
                line = file.readline(MAX_LINE_CHARACTERS + 1)
                if not line:
                    return
                if len(line) > MAX_LINE_CHARACTERS:
                    raise TextError(
                        f"{where}: is longer than {MAX_LINE_CHARACTERS:,} characters, so it is no "
                        "row; a .jsonl file holds one object a line."
                    )
                if line.strip():
                    yield where, _json_object(line, where)
    except (OSError, UnicodeDecodeError) as error:
        raise _unreadable_text(path, error) from error


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


def _unreadable_text(path: Path, error: OSError | UnicodeDecodeError) -> TextError:
    """Say why a file can't be read."""
    if isinstance(error, UnicodeDecodeError):
        return TextError(
            f"{path}: is not UTF-8 (byte 0x{error.object[error.start]:02x}: {error.reason}); "
            "convert it to UTF-8."
        )
    return TextError(f"{path}: can't be read ({error.strerror or error}).")
