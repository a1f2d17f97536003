"""Texts as rows of named columns: the builtin text, the Hub, and the rules of all readers."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from globalprune.errors import TextError
from globalprune.text.source import BUILTIN, HubText


class Column(StrEnum):
    """What a row holds."""

    TEXT = "text"
    INPUT_IDS = "input_ids"
    MESSAGES = "messages"


# The first that a table has is read.
MEASURED_COLUMNS: Final = (Column.TEXT, Column.INPUT_IDS, Column.MESSAGES)
TRAINING_COLUMNS: Final = (Column.MESSAGES, Column.TEXT, Column.INPUT_IDS)
# Beside `input_ids`: padding, what is not learned, and where one text in a row ends.
PADDING: Final = "attention_mask"
LABELS: Final = "labels"
POSITIONS: Final = "position_ids"
SEGMENTS: Final = "token_type_ids"
SEQUENCE_LENGTHS: Final = "seq_lengths"
LOSS_MASKS: Final = ("completion_mask", "assistant_masks", "assistant_mask", "loss_mask")  # by a 1
TOKEN_COLUMNS: Final = (PADDING, LABELS, POSITIONS, SEGMENTS, SEQUENCE_LENGTHS, *LOSS_MASKS)
TOOLS: Final = "tools"  # beside `messages`: the functions that an assistant may call
# How other data sets of dialogues name their columns, and what `messages` would be made of.
_DIALOGUES: Final = (
    ("conversations", "from and value of ShareGPT are role and content of `messages`"),
    ("conversation", "name the column `messages`, with role and content"),
    ("prompt", "prompt and answer are two messages, of the user and of the assistant"),
    ("instruction", "instruction and output are two messages, of the user and of the assistant"),
)


@dataclass(frozen=True)
class TextRows:
    """The rows of a source, read lazily and once: (where it stands, its columns by name).

    Every row has `column`. Of the others a row of `text` has none, and the rest those that may
    belong to it.
    """

    column: Column
    values: Iterator[tuple[str, Mapping[str, object]]]


def choose_column(
    names: Iterable[object], where: str, wanted: Sequence[Column] = MEASURED_COLUMNS
) -> Column:
    """The column to read of those there are."""
    found = [str(name) for name in names]
    for column in wanted:
        if found.count(column) > 1:
            raise TextError(
                f"{where}: has {found.count(column)} columns `{column}`; name only one of them so."
            )
        if column in found:
            return column
    advice = [text for name, text in _DIALOGUES if name in found]
    raise TextError(
        f"{where}: has no column {' or '.join(f'`{column}`' for column in wanted)}; "
        f"found {', '.join(found) or 'none'}. "
        + (
            f"Write dialogues as `messages`: {advice[0]}."
            if advice
            else "Name the column that holds the documents `text`."
        )
    )


CALIBRATION_SHARE: Final = 0.8  # of the characters


class TextUse(StrEnum):
    """What text is read for; only the builtin text is divided by it."""

    CALIBRATION = "calibration"
    EVALUATION = "evaluation"


def builtin_rows(part: TextUse) -> TextRows:
    """The topics of one part, by name; a topic is a document and lies in one part only."""
    return TextRows(Column.TEXT, _builtin_values(part))


def _builtin_values(part: TextUse) -> Iterator[tuple[str, dict[str, object]]]:
    """Each topic of the part."""
    topics = _topics()
    border = CALIBRATION_SHARE * sum(len(text) for text in topics.values())
    end = 0
    for name in sorted(topics):
        end += len(topics[name])
        if (TextUse.CALIBRATION if end <= border else TextUse.EVALUATION) is part:
            yield f"{BUILTIN}, topic {name}", {Column.TEXT: topics[name]}


def _topics() -> dict[str, str]:
    """The manual's topics; a stripped Python may lack them."""
    try:
        from pydoc_data.topics import topics
    except ImportError as error:
        raise TextError(
            f"{BUILTIN}: this Python was installed without pydoc_data; give --data a local file."
        ) from error
    return dict(topics)


SHUFFLE_BUFFER: Final = 1_000  # rows; a larger buffer mixes better and starts later


def hub_rows(
    source: HubText, shuffle_seed: int | None, wanted: Sequence[Column] = MEASURED_COLUMNS
) -> TextRows:
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
    return TextRows(column, _hub_values(source, stream, column, where))


def _open(source: HubText) -> Any:
    """Open the stream; datasets is slow to import, and local text never needs it."""
    import datasets

    return datasets.load_dataset(source.dataset, source.config, split=source.split, streaming=True)


def _hub_values(
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
