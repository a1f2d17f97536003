"""What a person chooses of how importances are made, and what can't be had together."""

from collections.abc import Sequence
from typing import get_args

from globalprune.artifacts.analyses.normalisers import NormaliserName, normaliser_named
from globalprune.artifacts.structure import ModelStructure
from globalprune.errors import UsageError
from globalprune.importance import Importance
from globalprune.statistics.interface import Ordered
from globalprune.statistics.loss import LabelDraw
from globalprune.text.windows import TokenWindows

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


def refuse_ordering_experts(methods: Sequence[Importance], structure: ModelStructure) -> None:
    """Raise `UsageError` for a method that orders what enters a single output projection."""
    ordering = [method.name for method in methods if set(method.needs) & set(get_args(Ordered))]
    if ordering and structure.has_experts:
        raise UsageError(
            f"--importance {ordering[0]}: can't be made of experts, whose channels enter many "
            "output projections; say --importance fisher, or another."
        )


def refuse_single_window(methods: Sequence[Importance], windows: TokenWindows) -> None:
    """Raise `UsageError` for a method that judges by windows which it isn't fitted to."""
    judging = [method.name for method in methods if "measured_removal_loss" in method.needs]
    if judging and len(windows.rows) < 2:  # noqa: PLR2004 - one to fit to, one to judge by
        raise UsageError(
            f"--importance {judging[0]}: a single window of text can't be both fitted to and "
            "judged by; say --samples 2 at least, better 128."
        )
