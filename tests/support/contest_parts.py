"""Questions and parts of the quality benchmark as tests write them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from contest.part import Judged, Part
from contest.question import DENSE, Item, Question
from contest.table import FOREIGN, OTHER, STRIDED

TOKENS = 10  # predicted in every window


def question_of(model: Path | str = "model", **changed: Any) -> Question:
    """A small question about a model."""
    facts: dict[str, Any] = {
        "model": str(model), "data": "builtin", "samples": 4, "seq_len": 16, "judge": "builtin",
        "foreign": "builtin", "eval_seq_len": 16, "stride": 100, "strided": 3, "others": 4,
    }  # fmt: skip
    return Question(**facts | changed)


def judged(means: Sequence[float], divergence: float | None = None) -> Judged:
    """Windows of these mean losses, and of one mean distance."""
    sums = None if divergence is None else tuple(divergence * TOKENS for _ in means)
    return Judged(
        nll=tuple(mean * TOKENS for mean in means),
        tokens=tuple(TOKENS for _ in means),
        divergence=sums,
        windows="sha256:w",
    )


def part_of(
    recipe: str,
    means: Sequence[float] = (1.0, 3.0),
    *,
    ratio: float = 0.2,
    seed: int = 0,
    **facts: Any,
) -> Part:
    """An item's figures, every text with the same losses."""
    texts = {name: judged(means, 0.5) for name in (STRIDED, OTHER, FOREIGN)}
    known: dict[str, Any] = {
        "key": "k", "parameters": 1000, "removed": 203, "seconds": 7.0, "peak_bytes": 2 * 10**9,
        "texts": texts,
    }  # fmt: skip
    item = Item(recipe=recipe, ratio=0 if recipe == DENSE else ratio, seed=seed)
    return Part(item=item, **known | facts)
