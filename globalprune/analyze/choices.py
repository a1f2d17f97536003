"""What a person may choose of how importances are made, by name: labels and normalisers."""

from collections.abc import Sequence

from globalprune.artifacts.normalisers import NormaliserName, normaliser_named
from globalprune.errors import UsageError
from globalprune.importance.interface import Importance
from globalprune.passes.labels import LabelDraw

LABELS = ("text", "sampled")


def label_draw(labels: str, seed: int) -> LabelDraw | None:
    """What draws the labels, None where the text gives them; raise `UsageError` for other names."""
    if labels not in LABELS:
        raise UsageError(f"--labels: {labels} is not known; there are {', '.join(LABELS)}.")
    return LabelDraw(seed) if labels == "sampled" else None


def chosen_normalisers(
    methods: Sequence[Importance], said: str | None
) -> dict[str, NormaliserName]:
    """The normaliser of each method that has one; what a person says is of the first."""
    found = {method.name: method.normaliser for method in methods}
    if said is not None:
        found[methods[0].name] = normaliser_named(said)
    return {name: normaliser for name, normaliser in found.items() if normaliser != "none"}
