"""Whether weights are numbers: asked of every tensor that is written."""

from typing import TYPE_CHECKING, Final

from globalprune.errors import NonFiniteError

if TYPE_CHECKING:
    import torch

_CHUNK: Final = 1 << 24  # numbers looked at together: a large embedding is never doubled
_REACH: Final = {  # the largest number of a dtype, by torch's name of it
    "torch.float16": 65_504.0,
    "torch.bfloat16": 3.3895313892515355e38,
    "torch.float32": 3.4028234663852886e38,
}


def refuse_non_finite(name: str, tensor: "torch.Tensor", where: str) -> None:
    """Raise `NonFiniteError` for NaN and infinity, naming the tensor and the first place."""
    flat = tensor.reshape(-1) if tensor.is_contiguous() else tensor.contiguous().reshape(-1)
    for start in range(0, flat.numel(), _CHUNK):
        fine = flat[start : start + _CHUNK].isfinite()
        if bool(fine.all()):
            continue
        at = start + int((~fine).nonzero()[0])
        raise NonFiniteError(
            f"{where}: {name} holds {float(flat[at])} at {_place(at, tensor.shape)}, which is no "
            "number to compute with; mend the weights, or download the model again."
        )


def converted(
    name: str, tensor: "torch.Tensor", dtype: "torch.dtype", where: str
) -> "torch.Tensor":
    """The tensor in another precision; raise `NonFiniteError` where that can't hold a number."""
    refuse_non_finite(name, tensor, where)
    made = tensor.to(dtype)
    lost = ~made.isfinite()
    if bool(lost.any()):
        at = int(lost.reshape(-1).nonzero()[0])
        short = str(dtype).removeprefix("torch.")
        raise NonFiniteError(
            f"{where}: {name} holds {float(tensor.reshape(-1)[at]):g} at "
            f"{_place(at, tensor.shape)}, beyond {_REACH.get(str(dtype), float('nan')):g}, where "
            f"{short} ends; keep the precision that it is stored in, or say bfloat16."
        )
    return made


def _place(at: int, shape: "torch.Size") -> str:
    """An index into the flat tensor as one into its dimensions."""
    index: list[int] = []
    for size in reversed(shape):
        at, here = divmod(at, size)
        index.insert(0, here)
    return str(index)
