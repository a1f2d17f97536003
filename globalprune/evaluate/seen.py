"""Whether text that judges a model was already seen when the model was cut.

Documents are compared whole, by digest: the same text cut into other documents isn't recognised.
"""

from pathlib import Path

from globalprune.artifacts.analysis_record import TextRecord, read_analysis_record
from globalprune.artifacts.provenance import OWN_FOLDER
from globalprune.errors import RecordInvalid


def warn_of_seen_text(folder: Path, evaluated: TextRecord) -> str | None:
    """A warning if the analysis that lies in a cut model's folder read documents of `evaluated`."""
    path = folder / OWN_FOLDER / "analysis.json"
    if not path.is_file():
        return None
    try:
        calibration = read_analysis_record(path).calibration
    except RecordInvalid as error:
        return f"can't tell whether this text was seen in calibration: {error}"
    seen = set(calibration.document_digests) & set(evaluated.document_digests)
    if not seen:
        return None
    of = len(set(evaluated.document_digests))
    return (
        f"{len(seen)} of {of} evaluation document{'s' * (of > 1)} "
        f"{'was' if len(seen) == 1 else 'were'} seen in calibration "
        f"({calibration.source}); the perplexity flatters this model, so judge it by other text."
    )
