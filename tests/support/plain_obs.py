"""Optimal brain surgeon the slow way: every inverse from scratch, every trial on the whole model.

Written from docs/importance.md alone, without a line of the package, for models without experts.
"""

from collections.abc import Sequence
from functools import lru_cache, partial
from typing import Any

import plain_autograd
import torch

SublayerKey = tuple[int, str]
Order = tuple[list[int], list[float]]  # groups, the first to go first; what each adds
DAMPING, GUARDED, RIDGE = 0.01, 50, 0.1


def obs(model: Any, rows: Sequence[torch.Tensor]) -> plain_autograd.Groups:
    """What every group adds when its turn comes, never less than those before it."""
    return _growing(orders(model, tuple(rows)))


def obs_measured(model: Any, rows: Sequence[torch.Tensor]) -> plain_autograd.Groups:
    """The same, each stretch of an order by what trials of it came to on the last window."""
    scaled = {}
    for sublayer, (groups, losses) in orders(model, tuple(rows)).items():
        counts = sorted({max(1, round(share * len(groups))) for share in (0.25, 0.6)})
        nats = [_tried(model, rows, sublayer, groups[:count]) for count in counts]
        scaled[sublayer] = groups, _scaled(losses, counts, nats)
    return _growing(scaled)


@lru_cache(maxsize=2)  # both importances are made of them
def orders(model: Any, rows: tuple[torch.Tensor, ...]) -> dict[SublayerKey, Order]:
    """The order of every sublayer."""
    inputs, curvatures = _moments(model, rows)
    found = {}
    for sublayer, entered in inputs.items():
        columns = {
            key[2]: _columns(model, key)
            for key in plain_autograd.groups(model)
            if key[:2] == sublayer
        }
        weight = _output(model, sublayer).weight.detach().T
        found[sublayer] = _order(entered, curvatures[sublayer], weight, columns)
    return found


def _order(
    entered: torch.Tensor, curvature: torch.Tensor, weight: torch.Tensor, columns: dict[int, Any]
) -> Order:
    """Take the cheapest group, compensate all others for it, until none is left."""
    moment = entered.T @ entered / len(entered)
    moment = moment + torch.diag(DAMPING * moment.diagonal())
    peaks = {u: float(entered[:, own].abs().max()) for u, own in columns.items()}
    median = sorted(peaks.values())[(len(peaks) - 1) // 2]
    late = {u for u, peak in peaks.items() if peak > GUARDED * median}
    standing, groups, losses = list(columns), [], []
    indices = torch.arange(len(moment))
    weight = weight.clone()
    while standing:
        left = torch.cat([indices[columns[u]] for u in standing])
        inverse = moment[left][:, left].inverse()
        costs, place = {}, 0
        for u in standing:
            within = slice(place, place := place + len(indices[columns[u]]))
            block = inverse[within, within].inverse()
            mine = weight[columns[u]]
            costs[u] = float(torch.einsum("io,ij,jo,o->", mine, block, mine, curvature)) / 2
        early = [u for u in standing if u not in late]
        gone = min(early or standing, key=costs.__getitem__)
        groups.append(gone)
        losses.append(costs[gone])
        standing.remove(gone)
        if standing:
            left = torch.cat([indices[columns[u]] for u in standing])
            own = indices[columns[gone]]
            moved = moment[left][:, left].inverse() @ moment[left][:, own] @ weight[own]
            weight[left] += moved
    return groups, losses


def _moments(
    model: Any, rows: Sequence[torch.Tensor]
) -> tuple[dict[SublayerKey, torch.Tensor], dict[SublayerKey, torch.Tensor]]:
    """What enters every sublayer's output projection, and the mean squared gradient behind it."""
    sublayers = list(dict.fromkeys(key[:2] for key in plain_autograd.groups(model)))
    entered: dict[SublayerKey, list[torch.Tensor]] = {sublayer: [] for sublayer in sublayers}
    squares: dict[SublayerKey, Any] = dict.fromkeys(sublayers, 0.0)
    made: dict[SublayerKey, torch.Tensor] = {}

    def note(_: Any, args: Any, output: torch.Tensor, sublayer: SublayerKey) -> None:
        entered[sublayer].append(args[0].detach()[0])
        made[sublayer] = output

    handles = [
        _output(model, sublayer).register_forward_hook(partial(note, sublayer=sublayer))
        for sublayer in sublayers
    ]
    for row in rows:
        logits = model(input_ids=row[None]).logits[0, :-1]
        nll = torch.nn.functional.cross_entropy(logits, row[1:], reduction="sum")
        gradients = torch.autograd.grad(nll, [made[sublayer] for sublayer in sublayers])
        for sublayer, gradient in zip(sublayers, gradients, strict=True):
            squares[sublayer] = squares[sublayer] + gradient[0].square().sum(dim=0)
    for handle in handles:
        handle.remove()
    predicted = sum(len(row) - 1 for row in rows)
    inputs = {sublayer: torch.cat(values) for sublayer, values in entered.items()}
    return inputs, {sublayer: total / predicted for sublayer, total in squares.items()}


@torch.no_grad()
def _tried(
    model: Any, rows: Sequence[torch.Tensor], sublayer: SublayerKey, gone: Sequence[int]
) -> float:
    """KL(model || model without these groups), the rest compensated on all rows but the last."""
    output = _output(model, sublayer)
    seen: list[torch.Tensor] = []
    handle = output.register_forward_pre_hook(lambda _, args: seen.append(args[0][0]))
    for row in rows[:-1]:
        model(input_ids=row[None])
    handle.remove()
    x = torch.cat(seen)
    own = output.weight.data
    silent = torch.zeros(own.shape[1], dtype=torch.bool)
    for group in gone:
        silent[_columns(model, (*sublayer, group))] = True
    kept = ~silent
    gram = x[:, kept].T @ x[:, kept]
    ridged = gram + RIDGE * gram.diagonal().mean() * torch.eye(len(gram), dtype=gram.dtype)
    missing = x[:, kept].T @ (x[:, silent] @ own[:, silent].T)
    weight = torch.zeros_like(own)
    weight[:, kept] = own[:, kept] + torch.linalg.solve(ridged, missing).T
    before = model(input_ids=rows[-1][None]).logits[0].log_softmax(-1)
    output.weight.data = weight
    after = model(input_ids=rows[-1][None]).logits[0].log_softmax(-1)
    output.weight.data = own
    return float((before.exp() * (before - after)).sum()) / len(rows[-1])


def _scaled(losses: Sequence[float], counts: Sequence[int], nats: Sequence[float]) -> list[float]:
    """Multiply each stretch by measured / predicted, or all up to there where that is noise."""
    found, factor, done, reached = list(losses), 1.0, 0, 0.0
    for count, measured in zip(counts, nats, strict=True):
        whole = measured / sum(losses[:count])
        factor, first = (measured - reached) / sum(losses[done:count]), done
        if factor < whole / 2:
            factor, first = whole, 0
        found[first:count] = [loss * factor for loss in losses[first:count]]
        done, reached = count, measured
    return found[:done] + [loss * factor for loss in losses[done:]]


def _growing(found: dict[SublayerKey, Order]) -> plain_autograd.Groups:
    """Every group's loss, never less than that of one that goes before it."""
    return {
        (*sublayer, group): torch.tensor(max(losses[: place + 1]), dtype=torch.float64)
        for sublayer, (groups, losses) in found.items()
        for place, group in enumerate(groups)
    }


def _output(model: Any, sublayer: SublayerKey) -> Any:
    """The projection whose inputs the groups own."""
    layer = model.model.layers[sublayer[0]]
    return layer.self_attn.o_proj if sublayer[1] == "attention" else layer.mlp.down_proj


def _columns(model: Any, key: Any) -> Any:
    """What of its inputs a group owns."""
    _, (_, columns) = list(plain_autograd.slices(model, *key))[-1]
    return columns
