"""How many groups go, and which: evenly from every layer, or by one ranking of the whole model.

Whatever the recipe, at least the parameters asked for go, and hardly more: only then can two
recipes be compared.
"""

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch

from globalprune.statistics.interface import SublayerKey
from peers.subject import Gone, Scores, Subject, sublayers_of
from peers.walk import select

Heads = Literal["spread", "floor"]


def even_counts(
    subject: Subject, need: int, *, layers: range | None = None, heads: Heads = "spread"
) -> dict[SublayerKey, int]:
    """Take the same share of attention groups and of MLP channels from each of the layers.

    A share of a few attention groups is rarely whole. `spread` takes the nearest whole number of
    the model's groups and lets the layers take turns; `floor` takes int(share · groups) from each
    layer, as FLAP's repository does. MLP channels make up what is missing.
    """
    chosen = layers or range(len(subject.structure.layers))
    attention = [
        sublayer
        for sublayer in sublayers_of(subject.structure, "attention")
        if sublayer[0] in chosen
    ]
    mlp = [sublayer for sublayer in sublayers_of(subject.structure, "mlp") if sublayer[0] in chosen]
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
    return {sublayer: count for sublayer, count in counts.items() if count}


def _alike(subject: Subject, sublayers: Sequence[SublayerKey]) -> tuple[int, int]:
    """Groups of each sublayer and the cost of one, which must be the same in all layers."""
    found = [subject.structure.layers[layer].sublayer(kind) for layer, kind in sublayers]
    sizes = {(sublayer.groups, sublayer.cost) for sublayer in found}
    if len(sizes) != 1:
        raise ValueError("the layers differ in size; the peers' recipes prune even models.")
    return sizes.pop()


def _dealt(total: int, sublayers: Sequence[SublayerKey]) -> dict[SublayerKey, int]:
    """Deal a number out as evenly as whole numbers can be."""
    places = len(sublayers)
    return {
        sublayer: total * (place + 1) // places - total * place // places
        for place, sublayer in enumerate(sublayers)
    }


def lowest(scores: torch.Tensor, count: int) -> torch.Tensor:
    """Mark the `count` lowest scores; of equal ones the first."""
    gone = torch.zeros(len(scores), dtype=torch.bool, device=scores.device)
    gone[scores.argsort(stable=True)[:count]] = True
    return gone


def lowest_of_each(
    scores: Scores, counts: dict[SublayerKey, int]
) -> dict[SublayerKey, torch.Tensor]:
    """Mark the lowest scores of every sublayer that gives anything."""
    return {sublayer: lowest(scores[sublayer], count) for sublayer, count in counts.items()}


def global_cut(subject: Subject, scores: Scores, need: int) -> Gone:
    """Walk all groups of the model from the lowest score on until enough parameters are gone."""
    sublayers = list(scores)
    values = np.concatenate([scores[sublayer].double().cpu().numpy() for sublayer in sublayers])
    costs = np.concatenate(
        [np.full(len(scores[sublayer]), subject.cost(sublayer), np.int64) for sublayer in sublayers]
    )
    order = np.argsort(values, kind="stable")
    taken = np.zeros(len(values), bool)
    taken[order] = select(costs[order], need)
    ends = np.cumsum([len(scores[sublayer]) for sublayer in sublayers])[:-1]
    return {
        sublayer: torch.from_numpy(part).to(scores[sublayer].device)
        for sublayer, part in zip(sublayers, np.split(taken, ends), strict=True)
    }
