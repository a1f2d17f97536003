"""Text that needs no network: the Python manual's topics, which every CPython carries.

About 465,000 characters; the first four fifths calibrate, the rest evaluates, cut between topics.
"""

from collections.abc import Iterator
from enum import StrEnum
from typing import Final

from globalprune.errors import TextError
from globalprune.text.rows import Column, Rows
from globalprune.text.source import BUILTIN

CALIBRATION_SHARE: Final = 0.8  # of the characters


class Part(StrEnum):
    """What text is read for; only the builtin text is divided by it."""

    CALIBRATION = "calibration"
    EVALUATION = "evaluation"


def builtin_rows(part: Part) -> Rows:
    """The topics of one part, by name; a topic is a document and lies in one part only."""
    return Rows(Column.TEXT, _values(part))


def _values(part: Part) -> Iterator[tuple[str, dict[str, object]]]:
    """Each topic of the part."""
    topics = _topics()
    border = CALIBRATION_SHARE * sum(len(text) for text in topics.values())
    end = 0
    for name in sorted(topics):
        end += len(topics[name])
        if (Part.CALIBRATION if end <= border else Part.EVALUATION) is part:
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
