"""FLAP: fluctuation of inputs, standardised in each layer, one ranking, and biases for the means.

A column's score is WIFV, Var(x_j)·‖W_:j‖², squared for attention as in FLAP's repository; within a
sublayer it is standardised, and a group takes the mean of its columns'. All groups are ranked
together, a group counting with its parameters (AL-AM). What goes is replaced by its mean: the
output's bias grows by Σ_P mean(x_j)·W_:j. https://arxiv.org/abs/2312.11983

Biases that the model didn't have are parameters, so that many more are taken out.
"""

import torch
from torch import nn

from globalprune.statistics.interface import Site, SublayerKey
from globalprune.text.windows import TokenWindows
from peers.allocation import global_cut
from peers.layer_stream import LayerStream
from peers.subject import Gone, Scores, Subject, by_group, columns, take_out


class Moments:
    """Mean and variance of every column of an output's inputs, over all tokens."""

    def __init__(self) -> None:
        self._sums = torch.zeros(1, dtype=torch.float64)
        self._squares = torch.zeros(1, dtype=torch.float64)
        self._tokens = 0

    def take(self, inputs: torch.Tensor) -> None:
        """Add a batch, `[tokens, D]`."""
        wide = inputs.double()
        self._sums = self._sums + wide.sum(dim=0)
        self._squares = self._squares + wide.square().sum(dim=0)
        self._tokens += len(inputs)

    @property
    def mean(self) -> torch.Tensor:
        """The mean of each column."""
        return self._sums / self._tokens

    @property
    def variance(self) -> torch.Tensor:
        """The variance of each column."""
        return (self._squares / self._tokens - self.mean.square()).clamp_min(0)


def prune(subject: Subject, windows: TokenWindows, need: int) -> int:
    """Rank by fluctuation, take out, and let biases stand for the means."""
    moments = _moments(subject, windows)
    scores = _scores(subject, moments)
    bare = [site for site in subject.outputs.values() if not has_bias(site)]
    added = sum(site.linear.out_features for site in bare)
    gone = global_cut(subject, scores, need + added)
    add_biases(subject, gone, {sublayer: found.mean for sublayer, found in moments.items()})
    return take_out(subject, gone) - added


def fluctuations(subject: Subject, windows: TokenWindows) -> Scores:
    """The standardised scores of every sublayer, on the dense model."""
    return _scores(subject, _moments(subject, windows))


def _scores(subject: Subject, moments: dict[SublayerKey, Moments]) -> Scores:
    """Every sublayer's scores."""
    return {
        sublayer: fluctuation(subject.outputs[sublayer], found)
        for sublayer, found in moments.items()
    }


def fluctuation(site: Site, moments: Moments) -> torch.Tensor:
    """The standardised score of every group."""
    weights = site.parameter("weight").double().square().sum(dim=0)
    metric = moments.variance * weights
    if site.sublayer[1] == "attention":
        metric = metric.square()
    standard = (metric - metric.mean()) / metric.std()
    return by_group(site, standard).mean(dim=1)


def has_bias(site: Site) -> bool:
    """Whether the model's own output has a bias."""
    return any(name == "bias" for name, _ in site.linear.named_parameters())


@torch.no_grad()
def add_biases(subject: Subject, gone: Gone, means: dict[SublayerKey, torch.Tensor]) -> None:
    """Give every output what the columns that go added on average."""
    for sublayer, site in subject.outputs.items():
        lost = columns(site, gone[sublayer]) * means[sublayer]
        bias = site.parameter("weight").double() @ lost
        old = site.parameter("bias") if has_bias(site) else torch.zeros_like(bias)
        site.linear.bias = nn.Parameter((old + bias).to(site.linear.weight.dtype))


def _moments(subject: Subject, windows: TokenWindows) -> dict[SublayerKey, Moments]:
    """Mean and variance of what enters every output of the dense model."""
    stream = LayerStream(subject, windows)
    moments = {sublayer: Moments() for sublayer in subject.outputs}
    for index in range(len(subject.structure.layers)):
        sites = [site for sublayer, site in subject.outputs.items() if sublayer[0] == index]
        stream.advance(index, {site: moments[site.sublayer].take for site in sites})
    return moments
