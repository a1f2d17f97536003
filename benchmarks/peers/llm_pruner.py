"""LLM-Pruner: element-wise first-order Taylor, evenly from the middle layers only.

A group's score is Σ_{θ∈u} |θ · ∂L/∂θ| with the gradient of the mean loss over all windows
("Element¹"). The first eighth and the last sixteenth of the layers stay whole: layers 0 to 3 and 30
to 31 of 32, as in its README. https://arxiv.org/abs/2305.11627

Its LoRA that follows is left out: every recipe here is judged before any training.
"""

import torch

from globalprune.statistics.interface import GroupSums
from globalprune.statistics.reducers.group_sums import (
    BlockSums,
    add_to_block,
    join_blocks,
    sum_to_groups,
)
from globalprune.text.windows import TokenWindows, batches
from peers.allocation import even_counts, lowest_of_each
from peers.subject import Subject, take_out

BATCH_SIZE = 4


def prune(subject: Subject, windows: TokenWindows, need: int) -> int:
    """Take out the lowest of every middle layer."""
    scores = taylor_scores(subject, windows)
    counts = even_counts(subject, need, layers=middle_layers(len(subject.structure.layers)))
    return take_out(subject, lowest_of_each(scores, counts))


def middle_layers(layers: int) -> range:
    """The layers that may be pruned."""
    first, last = round(layers * 4 / 32), round(layers * 2 / 32)
    return range(first, layers - last)


def taylor_scores(subject: Subject, windows: TokenWindows) -> GroupSums:
    """Σ |θ · ḡ| of every group; each parameter's gradient is held, as LLM-Pruner does."""
    accumulate_gradients(subject, windows)
    sums: BlockSums = {}
    for site in subject.sites:
        for name, axis in site.axes.items():
            gradient = site.linear.get_parameter(name).grad
            if gradient is None:
                raise ValueError(f"{site.name}.{name}: the loss doesn't depend on it.")
            values = (site.parameter(name) * gradient).abs()
            add_to_block(sums, site, sum_to_groups(values, axis, site.groups))
    subject.model.zero_grad(set_to_none=True)
    return join_blocks(sums)


def accumulate_gradients(subject: Subject, windows: TokenWindows) -> None:
    """Leave the gradient of the mean loss over windows in every parameter."""
    samples = len(windows.rows)
    for ids in batches(windows, BATCH_SIZE):
        logits = subject.model(input_ids=ids, use_cache=False).logits[:, :-1]
        loss = torch.nn.functional.cross_entropy(
            logits.flatten(0, 1).float(), ids[:, 1:].flatten(), reduction="mean"
        )
        (loss * len(ids) / samples).backward()  # type: ignore[no-untyped-call]
