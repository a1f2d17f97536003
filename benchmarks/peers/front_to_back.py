"""The walk that layer-wise recipes share: measure a layer's outputs, choose, repair, go on."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Generic, Literal, Protocol, TypeVar

import torch

from globalprune.statistics.interface import Site, SublayerKey
from globalprune.text.windows import TokenWindows
from peers.allocation import lowest
from peers.layer_stream import LayerStream
from peers.subject import Gone, Subject, columns, removed_parameters


class Statistic(Protocol):
    """What is measured of the inputs of one output."""

    def take(self, inputs: torch.Tensor) -> None:
        """Take a batch of inputs, `[tokens, D]`."""
        ...


Measured = TypeVar("Measured", bound=Statistic)


@dataclass(frozen=True)
class Method(Generic[Measured]):
    """A layer-wise recipe, but for how many groups go."""

    measure: Callable[[], Measured]
    score: Callable[[Site, Measured], torch.Tensor]  # one number for each group
    # the output's weight after the groups (bool, of columns that stay) were chosen
    repair: Callable[[Site, Measured, torch.Tensor], torch.Tensor]
    # what the statistics have seen: nothing pruned, the layers before, or also the sublayer before
    sees: Literal["dense", "layers", "sublayers"]


def zeroed(site: Site, _measured: object, stays: torch.Tensor) -> torch.Tensor:
    """No repair: what goes is zero, what stays is as it was."""
    return site.linear.weight * stays


def prune_front_to_back(
    subject: Subject,
    windows: TokenWindows,
    counts: Mapping[SublayerKey, int],
    method: Method[Measured],
) -> int:
    """Take out of every half the groups that the method scores lowest; return the parameters."""
    stream = LayerStream(subject, windows)
    gone: dict[SublayerKey, torch.Tensor] = {}
    for index in range(len(subject.structure.layers)):
        sites = [site for sublayer, site in subject.outputs.items() if sublayer[0] == index]
        pruned = [site for site in sites if counts.get(site.sublayer)]
        rounds = [[site] for site in pruned] if method.sees == "sublayers" else [pruned]
        for together in rounds:
            if together:
                measured = _measure(stream, index, together, method)
                gone |= _edit(measured, counts, method)
        if method.sees != "dense" or not pruned:
            stream.advance(index)
    return removed_parameters(subject.structure, gone)


def _measure(
    stream: LayerStream, index: int, sites: list[Site], method: Method[Measured]
) -> dict[Site, Measured]:
    """Measure what enters some outputs; a method that sees the dense model passes the layer now."""
    measured = {site: method.measure() for site in sites}
    takers = {site: statistic.take for site, statistic in measured.items()}
    if method.sees == "dense":
        stream.advance(index, takers)
    else:
        stream.peek(index, takers)
    return measured


@torch.no_grad()
def _edit(
    measured: Mapping[Site, Measured], counts: Mapping[SublayerKey, int], method: Method[Measured]
) -> Gone:
    """Choose and repair each of the outputs."""
    gone = {}
    for site, statistic in measured.items():
        groups = lowest(method.score(site, statistic), counts[site.sublayer])
        stays = columns(site, ~groups)
        site.linear.weight.copy_(method.repair(site, statistic, stays))
        gone[site.sublayer] = groups
    return gone
