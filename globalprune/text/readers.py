"""Readers of every source: local files, a Hub data set as a stream, and the builtin text."""

from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from typing import Any, Final, assert_never

from globalprune.errors import TextError
from globalprune.text.files import local_rows
from globalprune.text.rows import MEASURED_COLUMNS, Column, TextRows, choose_column
from globalprune.text.source import BUILTIN, BuiltinText, HubText, LocalText, TextSource

CALIBRATION_SHARE: Final = 0.8  # of the builtin text's characters
SHUFFLE_BUFFER: Final = 1_000  # rows; a larger buffer mixes better and starts later


class TextUse(StrEnum):
    """What text is read for; only the builtin text is divided by it."""

    CALIBRATION = "calibration"
    EVALUATION = "evaluation"


def open_rows(
    source: TextSource,
    use: TextUse,
    *,
    shuffle_seed: int | None,
    columns: Sequence[Column] = MEASURED_COLUMNS,
) -> TextRows:
    """Open any source. Only streams are shuffled, since local text is cut at seeded positions.

    Raise `TextError` for a source that can't be read or has none of `columns`.
    """
    match source:
        case LocalText():
            return local_rows(source.paths, columns)
        case HubText():
            return hub_rows(source, shuffle_seed, columns)
        case BuiltinText():
            return builtin_rows(use)
        case _:
            assert_never(source)


def builtin_rows(use: TextUse) -> TextRows:
    """Return the manual's topics for one use, sorted by name.

    A topic is a document, and each belongs to one use only. The first 80 % of the characters, to
    the topic, are for calibration.
    """
    return TextRows(Column.TEXT, _builtin_values(use))


def hub_rows(
    source: HubText, shuffle_seed: int | None, columns: Sequence[Column] = MEASURED_COLUMNS
) -> TextRows:
    """Stream a data set, through a seeded shuffle buffer unless `shuffle_seed` is None.

    Rows of `input_ids` keep their order, since they are windows that someone chose. Raise
    `TextError` for a data set that can't be streamed.
    """
    where = f"{source.dataset} ({source.split})"
    try:
        stream = _open_stream(source)
        names: list[str] | dict[str, Any] = stream.column_names or next(iter(stream), {})
    except Exception as error:
        raise _stream_error(source, error) from error
    if not names:
        raise TextError(f"{source.name}: the split `{source.split}` has no rows; name another.")
    column = choose_column(names, where, columns)
    if column is not Column.INPUT_IDS and shuffle_seed is not None:
        stream = stream.shuffle(seed=shuffle_seed, buffer_size=SHUFFLE_BUFFER)
    return TextRows(column, _hub_values(source, stream, column, where))


def _builtin_values(use: TextUse) -> Iterator[tuple[str, dict[str, object]]]:
    """Yield each topic of one use."""
    topics = _load_topics()
    border = CALIBRATION_SHARE * sum(len(text) for text in topics.values())
    end = 0
    for name in sorted(topics):
        end += len(topics[name])
        if (TextUse.CALIBRATION if end <= border else TextUse.EVALUATION) is use:
            yield f"{BUILTIN}, topic {name}", {Column.TEXT: topics[name]}


def _load_topics() -> dict[str, str]:
    """Return the manual's topics; raise `TextError` where a stripped Python lacks them."""
    try:
        from pydoc_data.topics import topics
    except ImportError as error:
        raise TextError(
            f"{BUILTIN}: this Python was installed without pydoc_data; give --data a local file."
        ) from error
    return dict(topics)


def _open_stream(source: HubText) -> Any:
    """Open the stream; `datasets` is imported here, since local text never needs it."""
    import datasets

    return datasets.load_dataset(source.dataset, source.config, split=source.split, streaming=True)


def _hub_values(
    source: HubText, stream: Any, column: Column, where: str
) -> Iterator[tuple[str, Mapping[str, object]]]:
    """Yield each row; the network may fail at any of them."""
    rows = enumerate(stream)
    while True:
        try:
            number, row = next(rows)
        except StopIteration:
            return
        except Exception as error:
            raise _stream_error(source, error) from error
        yield f"{where}, streamed row {number}", {column: None, **row}


def _stream_error(source: HubText, error: Exception) -> TextError:
    """Put any failure of `datasets` into one line, with what to do."""
    reason = str(error).strip().splitlines()[0] if str(error).strip() else "no reason given"
    return TextError(
        f"{source.name}: can't be streamed from the Hub ({type(error).__name__}: {reason}). "
        "Check the name (id[:config][:split]) and the network; without a network, give --data "
        "a local file or folder, or `builtin`."
    )
