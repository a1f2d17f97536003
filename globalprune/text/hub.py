"""Hub data sets as rows, streamed: nothing is stored, and only what is taken is fetched."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from globalprune.errors import TextError
from globalprune.text.rows import TO_MEASURE, Column, Rows, choose_column
from globalprune.text.source import HubText

SHUFFLE_BUFFER: Final = 1_000  # rows; a larger buffer mixes better and starts later


def hub_rows(
    source: HubText, shuffle_seed: int | None, wanted: Sequence[Column] = TO_MEASURE
) -> Rows:
    """Stream a data set, documents through a seeded shuffle buffer unless `shuffle_seed` is None.

    Rows of `input_ids` keep their order: they are windows that someone has chosen already.
    """
    where = f"{source.dataset} ({source.split})"
    try:
        stream = _open(source)
        names: list[str] | dict[str, Any] = stream.column_names or next(iter(stream), {})
    except Exception as error:
        raise _unreachable(source, error) from error
    if not names:
        raise TextError(f"{source.name}: the split `{source.split}` has no rows; name another.")
    column = choose_column(names, where, wanted)
    if column is not Column.INPUT_IDS and shuffle_seed is not None:
        stream = stream.shuffle(seed=shuffle_seed, buffer_size=SHUFFLE_BUFFER)
    return Rows(column, _values(source, stream, column, where))


def _open(source: HubText) -> Any:
    """Open the stream; datasets is slow to import, and local text never needs it."""
    import datasets

    return datasets.load_dataset(source.dataset, source.config, split=source.split, streaming=True)


def _values(
    source: HubText, stream: Any, column: Column, where: str
) -> Iterator[tuple[str, Mapping[str, object]]]:
    """Each row; the network may fail at any of them."""
    rows = enumerate(stream)
    while True:
        try:
            number, row = next(rows)
        except StopIteration:
            return
        except Exception as error:
            raise _unreachable(source, error) from error
        yield f"{where}, streamed row {number}", {column: None, **row}


def _unreachable(source: HubText, error: Exception) -> TextError:
    """Say why a data set can't be read; datasets lets through whatever its many parts raise."""
    reason = str(error).strip().splitlines()[0] if str(error).strip() else "no reason given"
    return TextError(
        f"{source.name}: can't be streamed from the Hub ({type(error).__name__}: {reason}). "
        "Check the name (id[:config][:split]) and the network; without a network, give --data "
        "a local file or folder, or `builtin`."
    )
