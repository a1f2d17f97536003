"""Parquet and Arrow files as rows, batch by batch, one column only."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet

from globalprune.errors import TextError
from globalprune.text.rows import TO_MEASURE, Column, Rows, choose_column

BATCH: Final = 256  # rows
_ARROW_FILE_MAGIC: Final = b"ARROW1"  # what lacks it is a stream, as `datasets` writes them

# The names of a table's columns, and what reads one of them as a sequence of arrays.
_Table = tuple[list[str], Callable[[Column], Iterator[Any]]]


def table_rows(path: Path, wanted: Sequence[Column] = TO_MEASURE) -> Rows:
    """Open a table; its schema says which column is read."""
    try:
        names, arrays = _parquet(path) if path.suffix == ".parquet" else _arrow(path)
    except (pa.ArrowException, OSError) as error:
        raise _unreadable(path, error) from error
    column = choose_column(names, str(path), wanted)
    return Rows(column, _values(path, arrays(column)))


def _parquet(path: Path) -> _Table:
    """A Parquet file, read a few hundred rows at a time."""
    file = pyarrow.parquet.ParquetFile(path)

    def arrays(column: Column) -> Iterator[Any]:
        for batch in file.iter_batches(batch_size=BATCH, columns=[column]):
            yield batch.column(column)

    return file.schema_arrow.names, arrays


def _arrow(path: Path) -> _Table:
    """An Arrow IPC file or stream, mapped rather than loaded."""
    source = pa.memory_map(str(path))
    is_file = source.read(len(_ARROW_FILE_MAGIC)) == _ARROW_FILE_MAGIC
    source.seek(0)
    reader = pyarrow.ipc.open_file(source) if is_file else pyarrow.ipc.open_stream(source)

    def arrays(column: Column) -> Iterator[Any]:
        batches = map(reader.get_batch, range(reader.num_record_batches)) if is_file else reader
        for batch in batches:
            yield batch.column(column)

    return reader.schema.names, arrays


def _values(path: Path, arrays: Iterator[Any]) -> Iterator[tuple[str, object]]:
    """Each row's value, with its number counted from 0 as pandas would."""
    row = 0
    try:
        for array in arrays:
            for scalar in array:
                yield f"{path}, row {row}", scalar.as_py()
                row += 1
    except UnicodeDecodeError as error:
        raise TextError(
            f"{path}, row {row}: is not UTF-8 (byte 0x{error.object[error.start]:02x}: "
            f"{error.reason}); write the table anew from UTF-8."
        ) from error
    except (pa.ArrowException, OSError) as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> TextError:
    """Say why a table can't be read."""
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    return TextError(
        f"{path}: can't be read as {path.suffix.removeprefix('.')} ({reason}); write it anew."
    )
