"""How transformers reads GGUF files of our families, as data; files that would lose are refused.

transformers reads some keys and tensors of each architecture, takes defaults for the rest, and
reports nothing: `modeling_gguf_pytorch_utils.py` and `integrations/ggml.py`.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from globalprune.errors import CheckpointError, UnsupportedArchitecture
from globalprune.models.checkpoints.gguf_header import GgufHeader

_GIVE_FOLDER: Final = "give the model that it was made from, as a folder or Hub id."
_AGAIN: Final = "download it again, or give a folder."
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
