"""Losses along an order of removal, scaled to what a few trials of it measured."""

from collections.abc import Iterator, Mapping
from typing import Final

from globalprune.compensation.removal_order import RemovalOrder

_CREDIBLE: Final = 0.5  # of the factor up to a trial: a stretch of less tells of noise


def measured_losses(order: RemovalOrder, trials: Mapping[int, float]) -> RemovalOrder:
    """The same order; each stretch up to a trial is multiplied by measured / predicted.

    `trials` are nats a token by groups removed. Behind the last one its stretch's factor goes on. A
    stretch that looks far cheaper than all before it is noise of two measurements, and takes the
    factor of the whole up to there. Where nothing was predicted, nothing is scaled.
    """
    losses = order.losses.clone()
    factor, done = 1.0, 0
    for start, end, factor in _stretches(order, trials):
        losses[start:end] = order.losses[start:end] * factor
        done = end
    losses[done:] *= factor
    return RemovalOrder(order.groups, losses)


def _stretches(
    order: RemovalOrder, trials: Mapping[int, float]
) -> Iterator[tuple[int, int, float]]:
    """Yield places in the order, from and up to, with a factor; a later one may revise."""
    done, reached = 0, 0.0
    for count, nats in sorted(trials.items()):
        predicted = float(order.losses[done:count].sum())
        if predicted <= 0:
            continue
        whole = nats / float(order.losses[:count].sum())
        factor = (nats - reached) / predicted
        if factor < _CREDIBLE * whole:
            yield 0, count, whole
        else:
            yield done, count, factor
        done, reached = count, nats
