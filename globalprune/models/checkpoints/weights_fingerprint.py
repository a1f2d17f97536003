"""A digest by which the same weights are known again, whatever the sharding.

The quick form hashes every name, dtype and shape, and a few blocks of rows of each large tensor:
it tells models and finetunes apart in seconds, and is no proof against a hidden change. `full` is.
"""

import hashlib

import torch

from globalprune.models.checkpoints.checkpoint import Checkpoint

QUICK_PREFIX = "sha256:"
FULL_PREFIX = "sha256-full:"  # so that the two forms are never taken for one another
_BLOCKS = 4
_ROWS = 4  # per block
_READ_WHOLE = 65_536  # bytes: smaller tensors (norms, biases) are hashed whole
_FULL_CHUNK = 1 << 26  # bytes hashed at once


def weights_fingerprint(checkpoint: Checkpoint, *, full: bool = False) -> str:
    """`sha256:…` of names, dtypes, shapes and sampled rows; `sha256-full:…` of every byte."""
    state = hashlib.sha256()
    for name, info in sorted(checkpoint.tensors.items()):
        state.update(f"{name}\0{info.dtype}\0{info.shape}\0".encode())
        content = checkpoint.read(name)
        for part in _chunks(content) if full else _sampled(name, content):
            state.update(_as_bytes(part))
    return (FULL_PREFIX if full else QUICK_PREFIX) + state.hexdigest()


def _sampled(name: str, tensor: torch.Tensor) -> list[torch.Tensor]:
    """A small tensor whole, else blocks of rows at places that follow from its name."""
    if tensor.numel() * tensor.element_size() <= _READ_WHOLE:
        return [tensor]
    places = max(1, tensor.shape[0] - _ROWS + 1)
    starts = (_seed(f"{name}/{block}") % places for block in range(_BLOCKS))
    return [tensor[start : start + _ROWS] for start in starts]


def _chunks(tensor: torch.Tensor) -> list[torch.Tensor]:
    """The whole tensor in pieces of bounded size."""
    flat = tensor.reshape(-1)
    step = _FULL_CHUNK // tensor.element_size()
    return [flat[start : start + step] for start in range(0, len(flat), step)]


def _seed(text: str) -> int:
    """A number that depends on the text alone, on any machine and any Python."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")


def _as_bytes(tensor: torch.Tensor) -> bytes:
    """The stored bytes; every dtype has them, numpy's or not."""
    return tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
