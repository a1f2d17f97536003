"""Weights that are refused: NaN and infinity, and a missing output head."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from globalprune.errors import CheckpointError, NonFiniteError
from globalprune.models.checkpoints.checkpoint import TensorInfo

if TYPE_CHECKING:
    import torch

EMBEDDING: Final = "model.embed_tokens.weight"
HEAD: Final = "lm_head.weight"
TIED: Final = "tie_word_embeddings"
# By family: what its config class takes where config.json is silent; other classes are loaded.
TIED_BY_DEFAULT: Final = {
    "llama": False,
    "mistral": False,
    "qwen2": False,
    "qwen3": False,
    "phi3": False,
    "olmo2": False,
    "smollm3": True,
    "granite": False,
    "gemma2": True,
    "gemma3_text": True,
    "qwen3_moe": False,
    "mixtral": False,
}
_CHUNK: Final = 1 << 24  # elements checked together, so that a large embedding is never doubled
_LARGEST: Final = {  # the largest number of a dtype, by torch's name of it
    "torch.float16": 65_504.0,
    "torch.bfloat16": 3.3895313892515355e38,
    "torch.float32": 3.4028234663852886e38,
}


def refuse_non_finite(name: str, tensor: "torch.Tensor", where: str) -> None:
    """Raise `NonFiniteError` for NaN and infinity, with the tensor and the first index."""
    flat = tensor.reshape(-1) if tensor.is_contiguous() else tensor.contiguous().reshape(-1)
    for start in range(0, flat.numel(), _CHUNK):
        finite = flat[start : start + _CHUNK].isfinite()
        if bool(finite.all()):
            continue
        at = start + int((~finite).nonzero()[0])
        raise NonFiniteError(
            f"{where}: {name} holds {float(flat[at])} at {_index(at, tensor.shape)}, which is no "
            "number to compute with; mend the weights, or download the model again."
        )


def convert_dtype(
    name: str, tensor: "torch.Tensor", dtype: "torch.dtype", where: str
) -> "torch.Tensor":
    """Convert a tensor to another precision; raise `NonFiniteError` where a number is too large."""
    refuse_non_finite(name, tensor, where)
    converted = tensor.to(dtype)
    lost = ~converted.isfinite()
    if bool(lost.any()):
        at = int(lost.reshape(-1).nonzero()[0])
        short = str(dtype).removeprefix("torch.")
        raise NonFiniteError(
            f"{where}: {name} holds {float(tensor.reshape(-1)[at]):g} at "
            f"{_index(at, tensor.shape)}, beyond {_LARGEST.get(str(dtype), float('nan')):g}, where "
            f"{short} ends; keep the precision that it is stored in, or say bfloat16."
        )
    return converted


def is_tied(config: Mapping[str, Any]) -> bool:
    """Whether a raw config.json asks for an output head that is the embedding."""
    if TIED in config:
        return bool(config[TIED])
    model_type = config.get("model_type")
    if not isinstance(model_type, str):
        return False
    if model_type in TIED_BY_DEFAULT:
        return TIED_BY_DEFAULT[model_type]
    from transformers import CONFIG_MAPPING

    known = model_type in CONFIG_MAPPING
    return bool(getattr(CONFIG_MAPPING[model_type](), TIED, False)) if known else False


def refuse_missing_head(
    config: Mapping[str, Any], tensors: Mapping[str, TensorInfo], at: str
) -> None:
    """Raise `CheckpointError` for a missing head, or one of another shape than it is tied to.

    No weight is read. Models with other names for embedding and head pass.
    """
    embedding, head = tensors.get(EMBEDDING), tensors.get(HEAD)
    if embedding is None and head is None:
        return
    tied = is_tied(config)
    stated = f"{TIED} {str(tied).lower()}" + ("" if TIED in config else ", as its class has it")
    if not tied and (embedding is None or head is None):
        missing, there = (EMBEDDING, HEAD) if embedding is None else (HEAD, EMBEDDING)
        raise CheckpointError(
            f"{at}: holds {there} and no {missing}, where config.json says {stated}; say {TIED} "
            "true if the two are one, or download the model again."
        )
    if tied and embedding is not None and head is not None and embedding.shape != head.shape:
        raise CheckpointError(
            f"{at}: {HEAD} is {list(head.shape)} and {EMBEDDING} {list(embedding.shape)}, where "
            f"config.json says {stated}: one can't be the other. Say {TIED} false and give both "
            "as many rows as vocab_size says, or save the model without a head."
        )


def _index(at: int, shape: "torch.Size") -> str:
    """Convert an index into the flat tensor to one into its dimensions."""
    index: list[int] = []
    for size in reversed(shape):
        at, here = divmod(at, size)
        index.insert(0, here)
    return str(index)
