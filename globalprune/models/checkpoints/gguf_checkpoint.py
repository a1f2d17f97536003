"""A GGUF file as a checkpoint: dequantised to float32 by transformers, with Hugging Face names.

The metadata is read at once. The weights are read when they are first needed, all together: GGUF
stores them in another order and permutation, so that no tensor can be read alone. The tokenizer in
the same file is read by `tokenizer.py`.

transformers reads some keys and tensors of each architecture, takes defaults for the rest, and
reports nothing: `modeling_gguf_pytorch_utils.py` and `integrations/ggml.py`. `GGUF_FAMILIES` has
what it reads of our families, and a file of which it would leave something out is refused.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from globalprune.errors import CheckpointError, UnsupportedArchitecture, library_errors
from globalprune.models.checkpoints.checkpoint import TensorInfo
from globalprune.models.checkpoints.gguf_header import GgufHeader, read_gguf_header
from globalprune.models.checkpoints.weight_checks import refuse_gaps
from globalprune.models.registry import adapter_for
from globalprune.models.sources.source import ModelSource

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

_DTYPE: Final = "F32"
_GIVE_FOLDER: Final = "give the model that it was made from, as a folder or Hub id."
_AGAIN: Final = "download it again, or give a folder."
_MAKE_AGAIN: Final = "download or make the .gguf file again."
_MAX_SIZE: Final = 2**31
_MATRIX_DIMENSIONS: Final = 2
_OUTER_TENSORS: Final = frozenset({"token_embd.weight", "output_norm.weight", "output.weight"})
_PROJECTIONS: Final = ("attn_q", "attn_k", "attn_v", "attn_output")
_MLP: Final = ("ffn_gate", "ffn_up", "ffn_down")
_NORMS: Final = ("attn_norm", "ffn_norm")
_WEIGHTS: Final = frozenset(f"{name}.weight" for name in (*_PROJECTIONS, *_MLP, *_NORMS))
_INPUT_BIASES: Final = frozenset({"attn_q.bias", "attn_k.bias", "attn_v.bias"})
_HEAD_NORMS: Final = frozenset({"attn_q_norm.weight", "attn_k_norm.weight"})
_POST_NORMS: Final = frozenset({"post_attention_norm.weight", "post_ffw_norm.weight"})
_UNREADABLE: Final = frozenset(  # our families, and gp export's outputs, that it can't read
    {"deci", "granite", "olmo2", "openelm", "phi3", "qwen3moe", "smollm3"}
)


@dataclass(frozen=True)
class GgufFamily:
    """How transformers reads one architecture."""

    model_type: str
    tensors: frozenset[str]  # of a layer, by their names below it
    head_dim: Callable[[GgufHeader], int | None]  # the size of a head that it assumes
    defaults: Mapping[str, Any] = field(default_factory=dict)  # values of keys that it ignores


def _divided_head_dim(header: GgufHeader) -> int | None:
    """Divide the model's width by its query heads, if the file has both."""
    width, heads = header.setting("embedding_length"), header.setting("attention.head_count")
    known = isinstance(width, int) and isinstance(heads, int) and heads > 0
    return width // heads if known else None


def _rotary_head_dim(header: GgufHeader) -> int | None:
    """Return the dimensions that rotary positions turn."""
    return header.setting("rope.dimension_count") or _divided_head_dim(header)


def _fixed_head_dim(head_dim: int) -> Callable[[GgufHeader], int | None]:
    return lambda _: head_dim


GGUF_FAMILIES: Final = {
    "llama": GgufFamily("llama", _WEIGHTS, _rotary_head_dim),
    "qwen2": GgufFamily("qwen2", _WEIGHTS | _INPUT_BIASES, _divided_head_dim),
    "qwen3": GgufFamily("qwen3", _WEIGHTS | _HEAD_NORMS, _fixed_head_dim(128)),
    # of Gemma it reads the size of a head, but divides scores by √256 whatever that is
    "gemma2": GgufFamily(
        "gemma2",
        _WEIGHTS | _POST_NORMS,
        _fixed_head_dim(256),
        {"attn_logit_softcapping": 50.0, "final_logit_softcapping": 30.0},
    ),
    "gemma3": GgufFamily("gemma3_text", _WEIGHTS | _POST_NORMS | _HEAD_NORMS, _fixed_head_dim(256)),
}


@dataclass(frozen=True)
class GgufCheckpoint:
    """The float32 model that transformers makes of the file."""

    source: ModelSource
    config: dict[str, Any]

    @classmethod
    def open(cls, source: ModelSource) -> "GgufCheckpoint":
        """Read the metadata; raise for files that can't be read, or not without a loss."""
        refuse_lossy_gguf(read_gguf_header(source.path), source.name)
        return cls(source, _float_config(_read_metadata(source.path)))

    @cached_property
    def tensors(self) -> Mapping[str, TensorInfo]:
        """Every parameter once; the first access loads the weights."""
        return {
            name: TensorInfo(tuple(tensor.shape), _DTYPE) for name, tensor in self._weights.items()
        }

    @property
    def parameters(self) -> int:
        """The number of parameters; tied tensors count once."""
        return sum(info.parameters for info in self.tensors.values())

    @property
    def auxiliary_folder(self) -> Path | None:
        """None: the other files of the folder may belong to other models."""
        return None

    def read(self, name: str) -> "torch.Tensor":
        """Return one tensor of the loaded model."""
        return self._weights[name]

    def release(self) -> None:
        """Let go of the dequantised weights; they are read again when they are needed."""
        self.__dict__.pop("_weights", None)

    @cached_property
    def _weights(self) -> "dict[str, torch.Tensor]":
        """The parameters by name; `named_parameters` yields a tied one once."""
        adapter_for(self.config)  # refuses before the weights are dequantised
        model = load_gguf(self.source)
        return {name: parameter.detach() for name, parameter in model.named_parameters()}


def load_gguf(source: ModelSource, dtype: "torch.dtype | str | None" = None) -> "PreTrainedModel":
    """Load a GGUF file as a plain model, one that `save_pretrained` writes like any other.

    The default `dtype` is float32. Raise for files that can't be read, or not without a loss.
    """
    import torch
    from transformers import AutoModelForCausalLM

    from globalprune.models.quiet import quiet_transformers

    refuse_lossy_gguf(read_gguf_header(source.path), source.name)
    auto: Any = AutoModelForCausalLM
    file = str(source.path.absolute())  # a relative name is searched for in the working directory
    where = f"{source.name}: the model can't be loaded"
    with quiet_transformers(), library_errors(CheckpointError, where, _MAKE_AGAIN):
        model, report = auto.from_pretrained(
            source.path.parent,
            gguf_file=file,
            dtype=torch.float32 if dtype is None else dtype,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # they are reported, and refused by name
        )
    # transformers leaves marks of a quantisation, though the weights are float now
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    for mark in ("is_quantized", "hf_quantizer", "quantization_method"):
        vars(model).pop(mark, None)
    refuse_gaps(source.name, report)
    loaded: PreTrainedModel = model
    return loaded


def refuse_lossy_gguf(header: GgufHeader, where: str) -> None:
    """Raise `UnsupportedArchitecture` if transformers would read a file as another model.

    Raise `CheckpointError` for sizes that the tensors don't have. Architectures that are not in the
    table are left to transformers.
    """
    architecture = header.architecture
    if architecture in _UNREADABLE:
        raise UnsupportedArchitecture(
            f"{where}: is a GGUF file of architecture {architecture}, which transformers doesn't "
            f"read as what it was; {_GIVE_FOLDER} It reads {', '.join(GGUF_FAMILIES)}."
        )
    family = GGUF_FAMILIES.get(architecture)
    if family is not None and (loss := next(_losses(header, family), None)):
        raise UnsupportedArchitecture(
            f"{where}: {loss}, so that what it makes would be another model; {_GIVE_FOLDER}"
        )
    _refuse_wrong_sizes(header, where)


def _read_metadata(path: Path) -> dict[str, Any]:
    """Return the config that transformers makes of the file's metadata."""
    from transformers import AutoConfig

    from globalprune.models.quiet import quiet_transformers

    try:
        with quiet_transformers():
            config = AutoConfig.from_pretrained(path.parent, gguf_file=str(path.absolute()))
        raw: dict[str, Any] = json.loads(config.to_json_string(use_diff=True))
    # a damaged file can fail anywhere in the reader, each time with another kind of error
    except Exception as error:
        raise CheckpointError(
            f"{path}: transformers can't read this GGUF file ({error}); download it again, or "
            "give the original model as a folder or Hub id."
        ) from error
    return raw


def _float_config(config: dict[str, Any]) -> dict[str, Any]:
    """Return the config of the float32 model, without the marks of a quantisation."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    own = {key: value for key, value in config.items() if not key.startswith("_")}
    own.pop("quantization_config", None)
    architecture = MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.get(own["model_type"])
    return own | {"architectures": [architecture], "dtype": "float32"}


def _losses(header: GgufHeader, family: GgufFamily) -> Iterator[str]:
    """Yield, in words, what transformers leaves out."""
    for name in header.tensors:
        below = name.partition(".")[2].partition(".")[2] if name.startswith("blk.") else None
        if name not in _OUTER_TENSORS and below not in family.tensors:
            yield f"has a tensor {name}, which transformers leaves out"
    scaling = header.setting("rope.scaling.type")
    if scaling not in (None, "none"):
        yield f"has {scaling} rope scaling, which transformers leaves out"
    head_dim, assumed = header.setting("attention.key_length"), family.head_dim(header)
    if head_dim and assumed and head_dim != assumed:
        yield f"has heads of {head_dim}, where transformers takes {assumed} to be their size"
    for key, value in family.defaults.items():
        if header.setting(key) not in (None, value):
            yield f"has {key} {header.setting(key)}, where transformers takes {value}"


def _refuse_wrong_sizes(header: GgufHeader, where: str) -> None:
    """Raise `CheckpointError` for sizes that are no numbers, or not those of the tensors.

    Before it looks at a tensor, transformers allocates memory by what they say, or by the defaults
    of a large model where they are missing.
    """
    is_ours = header.architecture in GGUF_FAMILIES
    layers = {name.split(".")[1] for name in header.tensors if name.startswith("blk.")}
    rows, width = _matrix_shape(header, "token_embd.weight")
    channels, _ = _matrix_shape(header, "blk.0.ffn_up.weight")
    expected: dict[str, int | None] = {"block_count": len(layers), "embedding_length": width}
    if is_ours:
        expected |= {"feed_forward_length": channels, "attention.head_count": None}
    for key, size in expected.items():
        if header.setting(key) is None:
            raise CheckpointError(f"{where}: has no {key}; {_AGAIN}")
        _refuse_other_size(header, key, size, where)
        if size == 0:
            raise CheckpointError(f"{where}: has no tensors from which {key} follows; {_AGAIN}")
    _refuse_other_size(header, "vocab_size", rows, where)
    if is_ours:
        for key in ("attention.head_count_kv", "attention.key_length", "rope.dimension_count"):
            _refuse_other_size(header, key, None, where)
        heads = header.setting("attention.head_count")
        head_dim = header.setting("attention.key_length")
        queries, _ = _matrix_shape(header, "blk.0.attn_q.weight")
        if queries % heads or (head_dim and queries != heads * head_dim):
            raise CheckpointError(
                f"{where}: says attention.head_count {heads:,}, and its queries have {queries:,} "
                f"rows; {_AGAIN}"
            )


def _matrix_shape(header: GgufHeader, name: str) -> tuple[int, int]:
    """Return the rows and columns of a tensor; zeros where it is no matrix."""
    info = header.tensors.get(name)
    if info is None or len(info.shape) != _MATRIX_DIMENSIONS:
        return 0, 0
    rows, columns = info.shape
    return rows, columns


def _refuse_other_size(header: GgufHeader, key: str, expected: int | None, where: str) -> None:
    """Raise `CheckpointError` for a size that is no number, or not the expected one."""
    size = header.setting(key)
    if size is None:
        return
    if not isinstance(size, int) or isinstance(size, bool) or not 0 < size < _MAX_SIZE:
        raise CheckpointError(
            f"{where}: says {key} {size!r}, not a positive number that a model can have; {_AGAIN}"
        )
    if expected is not None and size != expected:
        raise CheckpointError(
            f"{where}: says {key} {size:,}, and its tensors make it {expected:,}; {_AGAIN}"
        )
