"""Quantised weights, known by what lies beside them: refused by the method's name, with a way out.

Only float weights can be cut by rows and columns. What can be made float again, and how, is what
transformers' quantizers do: https://huggingface.co/docs/transformers/quantization/overview
"""

from pathlib import Path
from typing import Any, Final

from globalprune.errors import CheckpointError

_KEY: Final = "quantization_config"
_OLDER_KEY: Final = "compression_config"  # of compressed-tensors; transformers doesn't read it
_BESIDE: Final = {  # files by which older tools mark what their config.json doesn't
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


def refuse_quantised(config: dict[str, Any], path: Path) -> None:
    """Raise `CheckpointError` if the raw config.json at `path`, or a file beside it, says so."""
    if said := config.get(_KEY):
        method = _method(said)
        _refuse(path, _KEY, method, _WAYS_OUT.get(method, _ORIGINAL))
    if config.get(_OLDER_KEY):
        _refuse(path, _OLDER_KEY, "compressed-tensors", _ORIGINAL)
    for name, method in _BESIDE.items():
        if (path.parent / name).is_file():
            _refuse(path, name, method, _ORIGINAL)


def _method(said: Any) -> str:
    """How the weights were quantised, as transformers would name it."""
    if not isinstance(said, dict):
        return str(said)
    if said.get("load_in_8bit") or said.get("load_in_4bit"):
        return "bitsandbytes"  # configs of its first releases name no method
    return str(said.get("quant_method", "unknown"))


def _refuse(path: Path, mark: str, method: str, way_out: str) -> None:
    raise CheckpointError(
        f"{path}: the weights are quantised ({mark}, method {method}), and only float weights can "
        f"be cut; {way_out}."
    )
