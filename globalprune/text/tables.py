"""Parquet and Arrow files as rows, batch by batch, and no column that isn't needed."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet

from globalprune.errors import TextError
from globalprune.text.rows import (
    TO_MEASURE,
    TOKEN_COLUMNS,
    TOOLS,
    Column,
    Rows,
    choose_column,
)

BATCH: Final = 256  # rows
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


def table_rows(path: Path, wanted: Sequence[Column] = TO_MEASURE) -> Rows:
    """Open a table; its schema says which columns are read."""
    try:
        schema, batches = _parquet(path) if path.suffix == ".parquet" else _arrow(path)
        names = schema.names
    except Exception as error:  # a damaged file may raise anything
        raise _unreadable(path, error) from error
    column = choose_column(names, str(path), wanted)
    needed = [str(column), *(name for name in names if _belongs(name, column, schema, names))]
    for name in needed:
        if names.count(name) > 1:
            raise TextError(
                f"{path}: has {names.count(name)} columns `{name}`; name only one of them so."
            )
    return Rows(column, _values(path, batches(needed)))


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
        for batch in file.iter_batches(batch_size=BATCH, columns=names):
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
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> TextError:
    """Say why a table can't be read."""
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    return TextError(
        f"{path}: can't be read as {path.suffix.removeprefix('.')} ({reason}); write it anew."
    )
