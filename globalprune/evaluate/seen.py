"""Whether text that judges a model was already seen when the model was cut or finetuned.

Documents are compared whole, by digest: the same text cut into other documents isn't recognised.
"""

from collections.abc import Iterator
from pathlib import Path

from globalprune.artifacts.analyses.analysis import ANALYSIS_FILE, TextRecord, read_analysis_record
from globalprune.artifacts.records import OWN_FOLDER
from globalprune.artifacts.results.compensation import COMPENSATION_FILE, read_compensation
from globalprune.artifacts.results.finetuning import RECOVERY_FILE, read_recovery
from globalprune.errors import RecordInvalid


def warn_of_seen_text(folder: Path, evaluated: TextRecord) -> str | None:
    """A warning if a record that lies in a model's folder says that documents were read before."""
    judged = set(evaluated.document_digests)
    try:
        found = [
            (when, text.source, len(judged & set(text.document_digests)))
            for when, text in _texts(folder / OWN_FOLDER)
            if judged & set(text.document_digests)
        ]
    except RecordInvalid as error:
        return f"can't tell whether this text was seen before: {error}"
    if not found:
        return None
    told = " and ".join(
        f"{count} of {len(judged)} evaluation document{'s' * (len(judged) > 1)} "
        f"{'was' if count == 1 else 'were'} seen in {when} ({source})"
        for when, source, count in found
    )
    return f"{told}; the perplexity flatters this model, so judge it by other text."


def _texts(records: Path) -> Iterator[tuple[str, TextRecord]]:
    """What a model was measured on and what it learned from, as far as records lie there."""
    analysis, recovery = records / ANALYSIS_FILE, records / RECOVERY_FILE
    compensation = records / COMPENSATION_FILE
    if analysis.is_file():
        yield "calibration", read_analysis_record(analysis).calibration
    if compensation.is_file():
        yield "compensation", read_compensation(compensation).text
    if recovery.is_file():
        for run in read_recovery(recovery).runs:
            for part in run.data:
                yield "finetuning", part.text
