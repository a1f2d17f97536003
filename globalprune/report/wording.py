"""Phrases that several sections share."""

from collections.abc import Mapping

from globalprune.artifacts.analyses.analysis import TextRecord
from globalprune.report.content import Facts

UNKNOWN = "not known"


def percent(part: float | None) -> str:
    """A part of one, `12.34 %`."""
    return UNKNOWN if part is None else f"{100 * part:.2f} %"


def of_all(part: int, whole: int) -> str:
    """`1,024 of 4,096 (25.00 %)`."""
    return f"{part:,} of {whole:,}" + (f" ({percent(part / whole)})" if whole else "")


def text_phrase(text: TextRecord) -> str:
    """Text by name and amount."""
    length = "their own length" if text.seq_len is None else f"{text.seq_len:,} tokens"
    seed = "" if text.seed is None else f", seed {text.seed}"
    bos = ", BOS first" if text.bos else ""
    return (
        f"{text.samples:,} windows of {length} of {text.source}, "
        f"{text.predicted_tokens:,} predicted tokens{seed}{bos}"
    )


def model_phrase(source: str, revision: str | None) -> str:
    """A model by its name, and its revision if it has one."""
    return source if revision is None else f"{source}@{revision}"


def duration(seconds: float) -> str:
    """`12.3 s`, `4 min 10 s`, `2 h 5 min`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, left = divmod(minutes, 60)
    if hours:
        return f"{hours} h {left} min"
    return f"{minutes} min {rest} s" if minutes else f"{seconds:.1f} s"


def versions_phrase(versions: Mapping[str, str]) -> str:
    """`python 3.11, torch 2.6`."""
    return ", ".join(f"{name} {version}" for name, version in versions.items())


def provenance(digests: Mapping[str, str | None], versions: Mapping[str, str]) -> Facts:
    """Digests by which files and models are known again, and tools; folded away."""
    known = [(name, digest) for name, digest in digests.items() if digest]
    return Facts((*known, ("tools", versions_phrase(versions))), title="Digests and versions")
