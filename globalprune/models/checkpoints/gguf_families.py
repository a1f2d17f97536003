"""What transformers makes of GGUF files of our families, as data; what it would lose is refused.

It reads some keys and tensors of each architecture, takes defaults for the rest, and says nothing
of what it leaves out: `modeling_gguf_pytorch_utils.py` and `integrations/ggml.py` in transformers.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from globalprune.errors import CheckpointError, UnsupportedArchitecture
from globalprune.models.checkpoints.gguf_header import GgufHeader

_GIVE_FOLDER: Final = "give the model that it was made from, as a folder or Hub id."
_AGAIN: Final = "download it again, or give a folder."
_LARGEST: Final = 2**31
_MATRIX: Final = 2  # dimensions
_OUTSIDE: Final = frozenset({"token_embd.weight", "output_norm.weight", "output.weight"})
_PROJECTIONS: Final = ("attn_q", "attn_k", "attn_v", "attn_output")
_MLP: Final = ("ffn_gate", "ffn_up", "ffn_down")
_NORMS: Final = ("attn_norm", "ffn_norm")
_WEIGHTS: Final = frozenset(f"{name}.weight" for name in (*_PROJECTIONS, *_MLP, *_NORMS))
_INPUT_BIASES: Final = frozenset({"attn_q.bias", "attn_k.bias", "attn_v.bias"})
_HEAD_NORMS: Final = frozenset({"attn_q_norm.weight", "attn_k_norm.weight"})
_NORMS_BEHIND: Final = frozenset({"post_attention_norm.weight", "post_ffw_norm.weight"})
_UNREAD: Final = frozenset(  # families of ours, and what gp export writes
    {"deci", "granite", "olmo2", "openelm", "phi3", "qwen3moe", "smollm3"}
)


@dataclass(frozen=True)
class GgufFamily:
    """How transformers reads one architecture."""

    model_type: str
    tensors: frozenset[str]  # of a layer, by their names below it
    head_dim: Callable[[GgufHeader], int | None]  # what it takes one head to be
    defaults: Mapping[str, Any] = field(default_factory=dict)  # keys it doesn't read, and takes so


def _divided(header: GgufHeader) -> int | None:
    """The model's width by its query heads, as far as the file says them."""
    width, heads = header.own("embedding_length"), header.own("attention.head_count")
    known = isinstance(width, int) and isinstance(heads, int) and heads > 0
    return width // heads if known else None


def _rotated(header: GgufHeader) -> int | None:
    """What rotary positions turn."""
    return header.own("rope.dimension_count") or _divided(header)


def _always(head_dim: int) -> Callable[[GgufHeader], int | None]:
    return lambda _: head_dim


GGUF_FAMILIES: Final = {
    "llama": GgufFamily("llama", _WEIGHTS, _rotated),
    "qwen2": GgufFamily("qwen2", _WEIGHTS | _INPUT_BIASES, _divided),
    "qwen3": GgufFamily("qwen3", _WEIGHTS | _HEAD_NORMS, _always(128)),
    # of Gemma it reads the heads' size, and not by what scores are divided: it takes √256
    "gemma2": GgufFamily(
        "gemma2",
        _WEIGHTS | _NORMS_BEHIND,
        _always(256),
        {"attn_logit_softcapping": 50.0, "final_logit_softcapping": 30.0},
    ),
    "gemma3": GgufFamily("gemma3_text", _WEIGHTS | _NORMS_BEHIND | _HEAD_NORMS, _always(256)),
}


def refuse_lossy_gguf(header: GgufHeader, where: str) -> None:
    """Raise `UnsupportedArchitecture` if transformers would read a file as another model.

    Architectures that are not in the table are left to it.
    """
    architecture = header.architecture
    if architecture in _UNREAD:
        raise UnsupportedArchitecture(
            f"{where}: is a GGUF file of architecture {architecture}, which transformers doesn't "
            f"read as what it was; {_GIVE_FOLDER} It reads {', '.join(GGUF_FAMILIES)}."
        )
    family = GGUF_FAMILIES.get(architecture)
    if family is not None and (lost := next(_lost(header, family), None)):
        raise UnsupportedArchitecture(
            f"{where}: {lost}, so that what it makes would be another model; {_GIVE_FOLDER}"
        )
    _refuse_odd_sizes(header, where)


def _refuse_odd_sizes(header: GgufHeader, where: str) -> None:
    """Raise `CheckpointError` for sizes that are none, or that the tensors don't have.

    transformers takes memory for what they say, or for the defaults of a large model where they
    say nothing, before it looks at a tensor.
    """
    ours = header.architecture in GGUF_FAMILIES
    layers = {name.split(".")[1] for name in header.tensors if name.startswith("blk.")}
    rows, width = _matrix(header, "token_embd.weight")
    channels, _ = _matrix(header, "blk.0.ffn_up.weight")
    counted: dict[str, int | None] = {"block_count": len(layers), "embedding_length": width}
    if ours:
        counted |= {"feed_forward_length": channels, "attention.head_count": None}
    for key, found in counted.items():
        if header.own(key) is None:
            raise CheckpointError(f"{where}: says no {key}; {_AGAIN}")
        _refuse_other_size(header, key, found, where)
        if found == 0:
            raise CheckpointError(f"{where}: has no tensors from which {key} follows; {_AGAIN}")
    _refuse_other_size(header, "vocab_size", rows, where)
    if ours:
        for key in ("attention.head_count_kv", "attention.key_length", "rope.dimension_count"):
            _refuse_other_size(header, key, None, where)
        heads, size = header.own("attention.head_count"), header.own("attention.key_length")
        queries, _ = _matrix(header, "blk.0.attn_q.weight")
        if queries % heads or (size and queries != heads * size):
            raise CheckpointError(
                f"{where}: says attention.head_count {heads:,}, and its queries have {queries:,} "
                f"rows; {_AGAIN}"
            )


def _matrix(header: GgufHeader, name: str) -> tuple[int, int]:
    """Rows and columns of a tensor; none where it is no matrix."""
    info = header.tensors.get(name)
    if info is None or len(info.shape) != _MATRIX:
        return 0, 0
    rows, columns = info.shape
    return rows, columns


def _refuse_other_size(header: GgufHeader, key: str, found: int | None, where: str) -> None:
    """Raise for a size that is no number, or another than the tensors have."""
    said = header.own(key)
    if said is None:
        return
    if not isinstance(said, int) or isinstance(said, bool) or not 0 < said < _LARGEST:
        raise CheckpointError(
            f"{where}: says {key} {said!r}, not a positive number that a model can have; {_AGAIN}"
        )
    if found is not None and said != found:
        raise CheckpointError(
            f"{where}: says {key} {said:,}, and its tensors make it {found:,}; {_AGAIN}"
        )


def _lost(header: GgufHeader, family: GgufFamily) -> Iterator[str]:
    """Yield, in words, what transformers leaves out."""
    for name in header.tensors:
        below = name.partition(".")[2].partition(".")[2] if name.startswith("blk.") else None
        if name not in _OUTSIDE and below not in family.tensors:
            yield f"has a tensor {name}, which transformers leaves out"
    scaling = header.own("rope.scaling.type")
    if scaling not in (None, "none"):
        yield f"has {scaling} rope scaling, which transformers leaves out"
    found, taken = header.own("attention.key_length"), family.head_dim(header)
    if found and taken and found != taken:
        yield f"has heads of {found}, where transformers takes {taken} to be their size"
    for key, value in family.defaults.items():
        if header.own(key) not in (None, value):
            yield f"has {key} {header.own(key)}, where transformers takes {value}"
