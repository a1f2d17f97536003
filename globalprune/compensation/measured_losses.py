"""Losses along an order of removal, scaled to what a few trials of it measured."""

from collections.abc import Mapping

from globalprune.compensation.removal_order import RemovalOrder


def measured_losses(order: RemovalOrder, trials: Mapping[int, float]) -> RemovalOrder:
    """The same order; between trials, what was predicted is scaled to what was measured.

    `trials` are nats a token by groups removed. Behind the last trial its own scale goes on. More
    removed is never taken to cost less: a smaller measurement than the one before is noise.
    """
    losses = order.losses.clone()
    done, reached, scale = 0, 0.0, 1.0
    for count, nats in sorted(trials.items()):
        predicted = float(order.losses[done:count].sum())
        if predicted > 0:
            scale = max(nats - reached, 0.0) / predicted
        losses[done:count] *= scale
        done, reached = count, max(nats, reached)
    losses[done:] *= scale
    return RemovalOrder(order.groups, losses)
