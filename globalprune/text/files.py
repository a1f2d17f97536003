"""Local files as rows of text: plain text, JSON lines, Parquet and Arrow."""

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
from globalprune.text.rows import (
    MEASURED_COLUMNS,
    TOKEN_COLUMNS,
    TOOLS,
    Column,
    TextRows,
    choose_column,
)

# A .txt file is one document. A longer one is read in pieces, each a document, so that memory is
# bounded and everyone who reads the same file sees the same documents.
PIECE_CHARACTERS: Final = 4 * 2**20
MAX_LINE_CHARACTERS: Final = 2**26  # longer lines are no rows: the file is of another kind
BATCH_ROWS: Final = 256
_ARROW_FILE_MAGIC: Final = b"ARROW1"  # other .arrow files are streams, as `datasets` writes them
_LIST_TYPES: Final = (  # tools write arrays of one length as lists of a fixed size
    pa.types.is_list,
    pa.types.is_large_list,
    pa.types.is_fixed_size_list,
    pa.types.is_list_view,
    pa.types.is_large_list_view,
)

# A table's schema, and a function that reads some of its columns as a sequence of batches.
_Table = tuple[Any, Callable[[list[str]], Iterator[Any]]]


def local_rows(paths: Sequence[Path], columns: Sequence[Column] = MEASURED_COLUMNS) -> TextRows:
    """Read the files one after the other.

    Raise `TextError` for a file that can't be read, or that holds another column than the first.
    """
    first = _file_rows(paths[0], columns)

    def values() -> Iterator[tuple[str, Mapping[str, object]]]:
        yield from first.values
        for path in paths[1:]:
            rows = _file_rows(path, columns)
            if rows.column != first.column:
                raise TextError(
                    f"{path}: holds `{rows.column}`, but {paths[0].name} holds `{first.column}`; "
                    "keep documents and windows in different folders."
                )
            yield from rows.values

    return TextRows(first.column, values())


def table_rows(path: Path, columns: Sequence[Column] = MEASURED_COLUMNS) -> TextRows:
    """Open a Parquet or Arrow table; only the columns that its rows need are read."""
    try:
        schema, batches = _open_parquet(path) if path.suffix == ".parquet" else _open_arrow(path)
        names = schema.names
    except Exception as error:  # a damaged file may raise anything
        raise _table_error(path, error) from error
    column = choose_column(names, str(path), columns)
    needed = [str(column), *(name for name in names if _belongs(name, column, schema, names))]
    for name in needed:
        if names.count(name) > 1:
            raise TextError(
                f"{path}: has {names.count(name)} columns `{name}`; rename all but one of them."
            )
    return TextRows(column, _table_values(path, batches(needed)))


def files_digest(paths: Sequence[Path]) -> str:
    """Return `sha256:…` of the files' bytes, in their order."""
    digests = []
    for path in paths:
        with path.open("rb") as file:
            digests.append(hashlib.file_digest(file, "sha256").hexdigest())
    return digest_json(digests)


def _file_rows(path: Path, columns: Sequence[Column]) -> TextRows:
    """Open one file by its suffix."""
    if path.suffix == ".txt":
        return TextRows(Column.TEXT, ((str(path), {Column.TEXT: piece}) for piece in _pieces(path)))
    if path.suffix == ".jsonl":
        return _json_rows(path, columns)
    return table_rows(path, columns)


def _pieces(path: Path) -> Iterator[str]:
    """Yield the file's text in pieces of at most `PIECE_CHARACTERS`."""
    try:
        with path.open(encoding="utf-8-sig") as file:
            while piece := file.read(PIECE_CHARACTERS):
                if "\0" in piece:
                    raise _nul_error(str(path))
                yield piece
    except (OSError, UnicodeDecodeError) as error:
        raise _text_error(path, error) from error


def _json_rows(path: Path, columns: Sequence[Column]) -> TextRows:
    """Open a .jsonl file; the keys of its first line decide which column is read."""
    objects = _json_objects(path)
    first = next(objects, None)
    if first is None:
        raise TextError(f"{path}: is empty; every line should be an object with a `text`.")
    column = choose_column(first[1], first[0], columns)

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
    """Yield each line's number and object; blank lines are skipped."""
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
        raise _text_error(path, error) from error


def _json_object(line: str, where: str) -> dict[str, Any]:
    """Parse one line."""
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as error:
        if "\0" in line:
            raise _nul_error(where) from error
        raise TextError(f"{where}: is not JSON ({error}); mend or drop the line.") from error
    if not isinstance(value, dict):
        raise TextError(
            f"{where}: is a {type(value).__name__}, not an object; "
            'every line should look like {"text": "…"}.'
        )
    return value


def _belongs(name: str, column: Column, schema: Any, names: list[str]) -> bool:
    """Whether a column beside the chosen one may change what its rows mean."""
    if name == column or column is Column.TEXT:
        return False
    if column is Column.MESSAGES:
        return name == TOOLS
    if name in TOKEN_COLUMNS:
        return True
    kind = schema.types[names.index(name)]
    if not any(is_list(kind) for is_list in _LIST_TYPES):
        return False
    inner = kind.value_type
    return bool(
        pa.types.is_integer(inner) or pa.types.is_floating(inner) or pa.types.is_boolean(inner)
    )


def _open_parquet(path: Path) -> _Table:
    """Open a Parquet file; a few hundred rows are read at a time."""
    file = pyarrow.parquet.ParquetFile(path)

    def batches(names: list[str]) -> Iterator[Any]:
        for batch in file.iter_batches(batch_size=BATCH_ROWS, columns=names):
            yield {name: batch.column(name) for name in names}

    return file.schema_arrow, batches


def _open_arrow(path: Path) -> _Table:
    """Open an Arrow IPC file or stream, mapped rather than loaded."""
    source = pa.memory_map(str(path))
    is_file = source.read(len(_ARROW_FILE_MAGIC)) == _ARROW_FILE_MAGIC
    source.seek(0)
    reader = pyarrow.ipc.open_file(source) if is_file else pyarrow.ipc.open_stream(source)

    def batches(names: list[str]) -> Iterator[Any]:
        record_batches = (
            map(reader.get_batch, range(reader.num_record_batches)) if is_file else reader
        )
        for batch in record_batches:
            columns = {name: batch.column(name) for name in names}
            for column in columns.values():
                _check_offsets(column)
            yield columns

    return reader.schema, batches


def _check_offsets(column: Any) -> None:
    """Raise pyarrow's error for offsets that point outside the file: reading there would crash."""
    try:
        column.validate(full=True)
    except pa.ArrowInvalid as error:
        if "UTF8" not in str(error):  # `_table_values` reports that with the row's number
            raise


def _table_values(path: Path, batches: Iterator[Any]) -> Iterator[tuple[str, dict[str, object]]]:
    """Yield each row's columns, with its number counted from 0 as pandas does."""
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
        raise _table_error(path, error) from error


def _table_error(path: Path, error: Exception) -> TextError:
    """Say why a table can't be read."""
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    return TextError(
        f"{path}: can't be read as {path.suffix.removeprefix('.')} ({reason}); write it anew."
    )


def _nul_error(where: str) -> TextError:
    """Say what NULs mean: UTF-16 without a mark is valid UTF-8 in which half of all is NULs."""
    return TextError(
        f"{where}: holds NUL characters, so it is no text in UTF-8 (UTF-16 has them between its "
        "letters, and so have binary files); convert it to UTF-8."
    )


def _text_error(path: Path, error: OSError | UnicodeDecodeError) -> TextError:
    """Say why a text file can't be read."""
    if isinstance(error, UnicodeDecodeError):
        return TextError(
            f"{path}: is not UTF-8 (byte 0x{error.object[error.start]:02x}: {error.reason}); "
            "convert it to UTF-8."
        )
    return TextError(f"{path}: can't be read ({error.strerror or error}).")
