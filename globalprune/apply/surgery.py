"""The knife: one tensor in, the same tensor without the slices of the removed groups out."""

import torch

from globalprune.apply.steps import KeepTensor, SliceTensor


def cut(tensor: torch.Tensor, step: KeepTensor | SliceTensor) -> torch.Tensor:
    """Return what the step keeps, contiguous, in its own dtype; uncut, it is the same bits."""
    if isinstance(step, KeepTensor):
        return tensor.contiguous()
    if len(step.kept) == 1:  # a clone: a view would keep the whole tensor in memory and in the file
        start, stop = step.kept[0]
        return tensor.narrow(step.dim, start, stop - start).clone(
            memory_format=torch.contiguous_format
        )
    blocks = [tensor.narrow(step.dim, start, stop - start) for start, stop in step.kept]
    return torch.cat(blocks, dim=step.dim)
