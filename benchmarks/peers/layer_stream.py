"""Calibration windows on their way through a model, one decoder layer at a time.

Whoever prunes front to back sees in each layer what the pruned layers before it give; whoever wants
the dense model's statistics lets the stream pass a layer before changing it.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import nn

from globalprune.statistics.interface import Site
from globalprune.text.windows import TokenWindows, batches
from peers.subject import Subject

BATCH_SIZE = 8
Take = Callable[[torch.Tensor], None]  # of [tokens, D], what enters a site


class _SeenEnoughError(Exception):
    """The last watched site was reached: the rest of the layer need not run."""


class LayerStream:
    """The hidden states of every batch before the next layer, `[B, T, D]`."""

    def __init__(self, subject: Subject, windows: TokenWindows) -> None:
        self._subject = subject
        self._arguments: list[list[dict[str, Any]]] = []  # of each batch, of each layer
        self.hidden: list[torch.Tensor] = []
        layers = [subject.layer(index) for index in range(len(subject.structure.layers))]
        base: Any = subject.model.base_model
        for ids in batches(windows, BATCH_SIZE):
            with torch.no_grad(), _recorded(layers) as seen:
                base(input_ids=ids, use_cache=False)
            self.hidden.append(seen[0][0])
            self._arguments.append([arguments for _, arguments in seen])

    @torch.no_grad()
    def peek(self, index: int, takers: Mapping[Site, Take]) -> None:
        """Show what enters some sites of a layer, and stay before that layer."""
        last = list(takers)[-1]
        with _shown(takers, stop_at=last):
            for batch in range(len(self.hidden)):
                try:
                    self._run(index, batch)
                except _SeenEnoughError:
                    continue

    @torch.no_grad()
    def advance(self, index: int, takers: Mapping[Site, Take] | None = None) -> None:
        """Pass a layer as it is now."""
        with _shown(takers or {}, stop_at=None):
            for batch in range(len(self.hidden)):
                self.hidden[batch] = self._run(index, batch)

    def _run(self, index: int, batch: int) -> torch.Tensor:
        """Run one layer on one batch."""
        layer = self._subject.layer(index)
        found = layer(self.hidden[batch], **self._arguments[batch][index])
        output: torch.Tensor = found[0] if isinstance(found, tuple) else found
        return output


@contextmanager
def _recorded(layers: Sequence[nn.Module]) -> Iterator[list[tuple[torch.Tensor, dict[str, Any]]]]:
    """Let layers do nothing but note what they are called with."""
    seen: list[tuple[torch.Tensor, dict[str, Any]]] = []

    def passed(hidden_states: torch.Tensor, **arguments: Any) -> torch.Tensor:
        seen.append((hidden_states, arguments))
        return hidden_states

    for layer in layers:
        layer.forward = passed
    try:
        yield seen
    finally:
        for layer in layers:
            del layer.forward


@contextmanager
def _shown(takers: Mapping[Site, Take], *, stop_at: Site | None) -> Iterator[None]:
    """Hook the sites, and take the hooks off whatever happens."""
    with ExitStack() as stack:
        for site, take in takers.items():
            hook = _hook(take, stop=site is stop_at)
            stack.callback(site.linear.register_forward_pre_hook(hook).remove)
        yield


def _hook(take: Take, *, stop: bool) -> Callable[[nn.Module, tuple[Any, ...]], None]:
    """Make one site's hook."""

    def before(_module: nn.Module, args: tuple[Any, ...]) -> None:
        take(args[0].flatten(0, 1))
        if stop:
            raise _SeenEnoughError

    return before
