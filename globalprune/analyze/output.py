"""Puts the files of an analysis into their folder, where plans of a person may lie already."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from globalprune.artifacts.analyses.analysis_record import ANALYSIS_FILE
from globalprune.artifacts.analyses.curves import CURVES_FILE
from globalprune.artifacts.analyses.group_table import TABLE_FILE

LOG_FILE = "analyze.log"
DESCRIPTION_FILE = "description.txt"
# The record is last: it vouches for the table, by its digest.
_FILES = (TABLE_FILE, CURVES_FILE, DESCRIPTION_FILE, LOG_FILE, ANALYSIS_FILE)


@contextmanager
def staged_analysis(out: Path) -> Iterator[Path]:
    """Hand out a folder to write into; move its files into `out` if the block ends well.

    Only files of an analysis are replaced. What else lies in `out` stays. An `out` that is there
    may be a mount or a link to another disk, onto which nothing beside it can be renamed.
    """
    place = out if out.exists() else out.parent
    place.mkdir(parents=True, exist_ok=True)
    prefix = f".{out.name}."
    with tempfile.TemporaryDirectory(prefix=prefix, suffix=".part", dir=place) as folder:
        staging = Path(folder)
        yield staging
        out.mkdir(exist_ok=True)
        for name in _FILES:
            if (staging / name).exists():
                (staging / name).replace(out / name)
            else:
                (out / name).unlink(missing_ok=True)  # of another analysis that lay there
