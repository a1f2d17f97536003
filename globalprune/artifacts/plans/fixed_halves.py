"""Halves that are there and that no plan can cut: what is said wherever one is asked for."""

from typing import Final

from globalprune.artifacts.groups import GroupType

_WHY: Final = "its query and key norms span all heads, so that no head goes without changing others"


def why_fixed(kind: GroupType) -> str:
    """Say, without an end, that such halves stay whole in a model, and why."""
    return f"the {kind} of this model can't be cut ({_WHY})"
