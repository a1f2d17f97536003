"""How many groups go, and which: evenly from every layer, or by one ranking of the whole model.

Whatever the recipe, at least the parameters asked for go, and hardly more: only then can two
recipes be compared.
"""

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch

from globalprune.statistics.interface import Half
from peers.subject import Gone, Scores, Subject, halves_of
from peers.walk import select

Heads = Literal["spread", "floor"]


def even_counts(
    subject: Subject, need: int, *, layers: range | None = None, heads: Heads = "spread"
) -> dict[Half, int]:
    """Take the same share of attention groups and of MLP channels from each of the layers.

    A share of a few attention groups is rarely whole. `spread` takes the nearest whole number of
    the model's groups and lets the layers take turns; `floor` takes int(share · groups) from each
    layer, as FLAP's repository does. MLP channels make up what is missing.
    """
    chosen = layers or range(len(subject.structure.layers))
    attention = [half for half in halves_of(subject.structure, "attention") if half[0] in chosen]
    mlp = [half for half in halves_of(subject.structure, "mlp") if half[0] in chosen]
    groups, group_cost = _alike(subject, attention)
    channels, channel_cost = _alike(subject, mlp)
    share = need / (len(chosen) * (groups * group_cost + channels * channel_cost))
    total = int(share * groups) * len(chosen)
    if heads == "spread":
        total = min(math.floor(share * groups * len(chosen) + 0.5), need // group_cost)
    if share > 1:
        raise ValueError(f"{need:,} parameters are more than {len(chosen)} layers can give.")
    # near the end channels alone can't make up for what rounding down left standing
    every = channels * len(chosen) * channel_cost
    total = max(total, math.ceil((need - every) / group_cost))
    wanted = math.ceil((need - total * group_cost) / channel_cost)
    counts = _dealt(total, attention) | _dealt(wanted, mlp)
    return {half: count for half, count in counts.items() if count}


def _alike(subject: Subject, halves: Sequence[Half]) -> tuple[int, int]:
    """Groups of each half and the cost of one, which must be the same in all layers."""
    found = [subject.structure.layers[layer].half(kind) for layer, kind in halves]
    sizes = {(half.groups, half.cost) for half in found}
    if len(sizes) != 1:
        raise ValueError("the layers differ in size; the peers' recipes prune even models.")
    return sizes.pop()


def _dealt(total: int, halves: Sequence[Half]) -> dict[Half, int]:
    """Deal a number out as evenly as whole numbers can be."""
    places = len(halves)
    return {
        half: total * (place + 1) // places - total * place // places
        for place, half in enumerate(halves)
    }


def lowest(scores: torch.Tensor, count: int) -> torch.Tensor:
    """Mark the `count` lowest scores; of equal ones the first."""
    gone = torch.zeros(len(scores), dtype=torch.bool, device=scores.device)
    gone[scores.argsort(stable=True)[:count]] = True
    return gone


def lowest_of_each(scores: Scores, counts: dict[Half, int]) -> dict[Half, torch.Tensor]:
    """Mark the lowest scores of every half that gives anything."""
    return {half: lowest(scores[half], count) for half, count in counts.items()}


def global_cut(subject: Subject, scores: Scores, need: int) -> Gone:
    """Walk all groups of the model from the lowest score on until enough parameters are gone."""
    halves = list(scores)
    values = np.concatenate([scores[half].double().cpu().numpy() for half in halves])
    costs = np.concatenate(
        [np.full(len(scores[half]), subject.cost(half), np.int64) for half in halves]
    )
    order = np.argsort(values, kind="stable")
    taken = np.zeros(len(values), bool)
    taken[order] = select(costs[order], need)
    ends = np.cumsum([len(scores[half]) for half in halves])[:-1]
    return {
        half: torch.from_numpy(part).to(scores[half].device)
        for half, part in zip(halves, np.split(taken, ends), strict=True)
    }
