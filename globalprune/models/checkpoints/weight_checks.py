"""Weights that are refused: quantised ones, NaN and infinity, a missing head, and misfits.

Only float weights can be cut by rows and columns. Which quantised ones can be made float again, and
how, follows transformers' quantizers:
https://huggingface.co/docs/transformers/quantization/overview
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from globalprune.artifacts.formatting import first_few
from globalprune.errors import CheckpointError, NonFiniteError
from globalprune.models.checkpoints.checkpoint import TensorInfo

if TYPE_CHECKING:
    import torch

FLOAT_DTYPES: Final = frozenset({"F64", "F32", "F16", "BF16"})
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
_BUFFERS: Final = (".attn.bias", ".masked_bias", ".position_ids")  # masks that old models carry
_QUANTISED_KEY: Final = "quantization_config"
_OLDER_QUANTISED_KEY: Final = (
    "compression_config"  # of compressed-tensors; transformers doesn't read it
)
_MARKER_FILES: Final = {  # of older tools, whose config.json says nothing
    "quantize_config.json": "gptq",
    "quant_config.json": "awq",
    "hf_quant_config.json": "modelopt",
}
_ORIGINAL: Final = "give the model that it was made of, and quantise the result"
_FLOAT: Final = (
    "give the float model that it was made of; bitsandbytes quantises while loading, so the result "
    "can be loaded in the same way"
)
_LOSSY: Final = "with the loss of precision kept: "
_DEQUANTISED: Final = f"or, {_LOSSY}load it with transformers, model.dequantize(), save_pretrained"
_LOADED: Final = (
    f"or, {_LOSSY}from_pretrained(…, quantization_config={{}}(dequantize=True)) of transformers, "
    "then save_pretrained"
)
_WAYS_OUT: Final = {
    "bitsandbytes": f"{_FLOAT}; {_DEQUANTISED}",
    "higgs": f"{_ORIGINAL}; {_DEQUANTISED}",
    "compressed-tensors": f"{_ORIGINAL}; {_LOADED.format('CompressedTensorsConfig')}; for that, "
    "install compressed-tensors",
    "fp8": f"{_ORIGINAL}; {_LOADED.format('FineGrainedFP8Config')}",
    "mxfp8": f"{_ORIGINAL}; {_LOADED.format('FineGrainedFP8Config')}",
    "mxfp4": f"{_ORIGINAL}; {_LOADED.format('Mxfp4Config')}",
}


def refuse_quantised(
    config: dict[str, Any], path: Path, tensors: Mapping[str, TensorInfo] | None = None
) -> None:
    """Raise `CheckpointError` if the weights beside the config.json at `path` aren't float.

    Without `tensors`, as for a model on the Hub, the config alone decides.
    """
    integers = list(_integers(tensors or {}))
    if settings := config.get(_QUANTISED_KEY):
        method = _method_of(settings)
        if tensors and not integers:
            _refuse_leftover(path, _QUANTISED_KEY, method, tensors)
        _refuse_method(path, _QUANTISED_KEY, method, _WAYS_OUT.get(method, _ORIGINAL))
    if config.get(_OLDER_QUANTISED_KEY):
        if tensors and not integers:
            _refuse_leftover(path, _OLDER_QUANTISED_KEY, "compressed-tensors", tensors)
        _refuse_method(path, _OLDER_QUANTISED_KEY, "compressed-tensors", _ORIGINAL)
    for name, method in _MARKER_FILES.items():
        # beside float weights it is a leftover, which nobody reads
        if (path.parent / name).is_file() and (integers or tensors is None):
            _refuse_method(path, name, method, _ORIGINAL)
    if integers:
        raise CheckpointError(
            f"{path.parent}: holds {first_few(integers, 3)}, and only float weights can be cut; "
            "these mean nothing without the scales of a quantisation: "
            f"{_ORIGINAL}."
        )


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


def refuse_gaps(where: str, report: Mapping[str, Any]) -> None:
    """Raise `CheckpointError` unless a loaded model and its checkpoint hold the same tensors.

    `report` is what transformers says about the loading.
    """
    mismatched = [
        f"{name} is {list(stored)}, should be {list(expected)}"
        for name, stored, expected in report["mismatched_keys"]
    ]
    problems = {
        "missing": report["missing_keys"],
        "unexpected": report["unexpected_keys"],
        "of another shape": mismatched,
    }
    for kind, names in problems.items():
        if names:
            raise CheckpointError(
                f"{where}: {len(names)} tensors are {kind}: {first_few(sorted(names))}; "
                "config.json and the weights don't belong together: fetch or write them again."
            )


def _integers(tensors: Mapping[str, TensorInfo]) -> Iterator[str]:
    """Yield the weights that are no plain floats, by name and dtype."""
    for name, info in sorted(tensors.items()):
        if info.dtype not in FLOAT_DTYPES and not name.endswith(_BUFFERS):
            yield f"{name} as {info.dtype}"


def _refuse_leftover(path: Path, mark: str, method: str, tensors: Mapping[str, TensorInfo]) -> None:
    """Raise `CheckpointError` for a mark of quantisation beside weights that are float."""
    dtypes = ", ".join(sorted({info.dtype for info in tensors.values()}))
    raise CheckpointError(
        f"{path}: {mark} says that the weights are quantised (method {method}), and all of them "
        f"are stored as {dtypes}, so they are float already: take {mark} out of config.json."
    )


def _method_of(settings: Any) -> str:
    """Return transformers' name of the quantisation method."""
    if not isinstance(settings, dict):
        return str(settings)
    if settings.get("load_in_8bit") or settings.get("load_in_4bit"):
        return "bitsandbytes"  # configs of its first releases name no method
    return str(settings.get("quant_method", "unknown"))


def _refuse_method(path: Path, mark: str, method: str, way_out: str) -> None:
    raise CheckpointError(
        f"{path}: the weights are quantised ({mark}, method {method}), and only float weights can "
        f"be cut; {way_out}."
    )


def _index(at: int, shape: "torch.Size") -> str:
    """Convert an index into the flat tensor to one into its dimensions."""
    index: list[int] = []
    for size in reversed(shape):
        at, here = divmod(at, size)
        index.insert(0, here)
    return str(index)
