"""Quantised weights are refused, with the name of the method and a way out.

Only float weights can be cut by rows and columns. Which of them can be made float again, and how,
follows transformers' quantizers: https://huggingface.co/docs/transformers/quantization/overview
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from globalprune.artifacts.formatting import first_few
from globalprune.errors import CheckpointError
from globalprune.models.checkpoints.checkpoint import TensorInfo

FLOAT_DTYPES: Final = frozenset({"F64", "F32", "F16", "BF16"})
_BUFFERS: Final = (".attn.bias", ".masked_bias", ".position_ids")  # masks that old models carry
_KEY: Final = "quantization_config"
_OLDER_KEY: Final = "compression_config"  # of compressed-tensors; transformers doesn't read it
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
    if settings := config.get(_KEY):
        method = _method(settings)
        if tensors and not integers:
            _refuse_leftover(path, _KEY, method, tensors)
        _refuse(path, _KEY, method, _WAYS_OUT.get(method, _ORIGINAL))
    if config.get(_OLDER_KEY):
        if tensors and not integers:
            _refuse_leftover(path, _OLDER_KEY, "compressed-tensors", tensors)
        _refuse(path, _OLDER_KEY, "compressed-tensors", _ORIGINAL)
    for name, method in _MARKER_FILES.items():
        # beside float weights it is a leftover, which nobody reads
        if (path.parent / name).is_file() and (integers or tensors is None):
            _refuse(path, name, method, _ORIGINAL)
    if integers:
        raise CheckpointError(
            f"{path.parent}: holds {first_few(integers, 3)}, and only float weights can be cut; "
            "these mean nothing without the scales of a quantisation: "
            f"{_ORIGINAL}."
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


def _method(settings: Any) -> str:
    """Return transformers' name of the quantisation method."""
    if not isinstance(settings, dict):
        return str(settings)
    if settings.get("load_in_8bit") or settings.get("load_in_4bit"):
        return "bitsandbytes"  # configs of its first releases name no method
    return str(settings.get("quant_method", "unknown"))


def _refuse(path: Path, mark: str, method: str, way_out: str) -> None:
    raise CheckpointError(
        f"{path}: the weights are quantised ({mark}, method {method}), and only float weights can "
        f"be cut; {way_out}."
    )
