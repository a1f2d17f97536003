"""Which labels gradients are taken of: the text's next tokens, or tokens drawn from the model."""

from globalprune.errors import UsageError
from globalprune.passes.labels import LabelDraw

LABELS = ("text", "sampled")


def label_draw(labels: str, seed: int) -> LabelDraw | None:
    """What draws the labels, None where the text gives them; raise `UsageError` for other names."""
    if labels not in LABELS:
        raise UsageError(f"--labels: {labels} is not known; there are {', '.join(LABELS)}.")
    return LabelDraw(seed) if labels == "sampled" else None
