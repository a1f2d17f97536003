"""What a person should know before trusting an analysis; it goes into the record as warnings."""

from collections.abc import Iterator, Sequence

from globalprune.analyze.subject import Subject
from globalprune.artifacts.analyses.normalisers import NormaliserName
from globalprune.artifacts.structure import why_fixed
from globalprune.importance import Importance
from globalprune.models.checkpoints.gguf_header import quantisation_notes
from globalprune.text.windows import TokenWindows


def doubts(
    subject: Subject,
    windows: TokenWindows,
    methods: Sequence[Importance],
    normaliser: NormaliserName,
    labels: str,
    dtype: str,
) -> Iterator[str]:
    """Yield a sentence or two for every reason to doubt."""
    yield from quantisation_notes(subject.source)
    if not methods[0].in_nats and normaliser == "none":
        yield (
            f"{methods[0].name} is not comparable between layers: one ranking over all of them "
            "destroys a model; plan with a normaliser or another importance, or measure few "
            "layers (--layers)."
        )
    first_order = [method.name for method in methods if "first_order" in method.needs]
    if labels == "sampled" and first_order:
        yield (
            f"{' and '.join(first_order)} with --labels sampled: the mean gradient of labels that "
            "the model draws itself tends to zero, so its first order is noise; use fisher, or "
            "--labels text."
        )
    judging = [method.name for method in methods if "measured_removal_loss" in method.needs]
    if judging and dtype != "float32":
        yield (
            f"{judging[0]} in {dtype}: what a trial measures is blurred by rounding, the more the "
            "less it removes; measure with --dtype float32 where that fits."
        )
    if len(windows.rows) == 1:
        yield (
            "one window can't be halved, so nothing tells how sure its importances are; measure "
            "with more --samples."
        )
    for kind in subject.structure.fixed:
        yield f"{why_fixed(kind)}; only the other groups are measured."
    longest = max(len(row) for row in windows.rows)
    positions = subject.figures.find("max_position_embeddings")
    if positions is not None and longest > positions:
        yield (
            f"windows of {longest} tokens are longer than the {positions} positions that the "
            "model was trained for; say a smaller --seq-len."
        )
