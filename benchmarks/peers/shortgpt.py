"""ShortGPT: whole layers go, those that turn the residual stream the least.

Block Influence of a layer is 1 - mean cos(h before, h after) over all tokens of the dense model;
the lowest go until enough parameters are gone, so the last one may overshoot by most of a layer.
https://arxiv.org/abs/2403.03853
"""

import torch
from torch.nn import functional

from globalprune.artifacts.structure import LayerStructure
from globalprune.text.windows import TokenWindows
from peers.layer_stream import LayerStream
from peers.subject import Subject


def prune(subject: Subject, windows: TokenWindows, need: int) -> int:
    """Take out the layers of least influence."""
    order = block_influences(subject, windows).argsort(stable=True).tolist()
    removed = 0
    for index in order[:-1]:  # one layer stays, whatever was asked
        if removed >= need:
            break
        silence(subject, index)
        removed += parameters_of(subject.structure.layers[index])
    return removed


def block_influences(subject: Subject, windows: TokenWindows) -> torch.Tensor:
    """1 - mean cosine of what enters a layer and what leaves it, for every layer."""
    stream = LayerStream(subject, windows)
    found = []
    for index in range(len(subject.structure.layers)):
        before = list(stream.hidden)
        stream.advance(index)
        cosines = [
            functional.cosine_similarity(old, new, dim=-1).double().flatten()
            for old, new in zip(before, stream.hidden, strict=True)
        ]
        found.append(1 - torch.cat(cosines).mean())
    return torch.stack(found)


@torch.no_grad()
def silence(subject: Subject, index: int) -> None:
    """Let a layer add nothing to the residual stream, output biases included."""
    for sublayer, site in subject.outputs.items():
        if sublayer[0] == index:
            for parameter in site.linear.parameters():
                parameter.zero_()


def parameters_of(layer: LayerStructure) -> int:
    """Everything that goes with a layer."""
    sublayers = (layer.attention, layer.mlp)
    return layer.norms + sum(
        sublayer.prunable + sublayer.shared + sublayer.kept for sublayer in sublayers
    )
