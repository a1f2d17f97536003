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
_LARGEST: Final = 2**31
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
    return int(width // heads) if width and heads else None


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


def refuse_lost(header: GgufHeader, where: str) -> None:
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
    if family is not None:
        _refuse_odd_sizes(header, where)
    if family is not None and (lost := next(_lost(header, family), None)):
        raise UnsupportedArchitecture(
            f"{where}: {lost}, so that what it makes would be another model; {_GIVE_FOLDER}"
        )


def _refuse_odd_sizes(header: GgufHeader, where: str) -> None:
    """Raise `CheckpointError` for sizes that are none, or that the tensors don't have.

    transformers takes memory for what they say before it looks at a tensor.
    """
    layers = {name.split(".")[1] for name in header.tensors if name.startswith("blk.")}
    embedding = header.tensors.get("token_embd.weight")
    up = header.tensors.get("blk.0.ffn_up.weight")
    counted: dict[str, int | None] = {
        "block_count": len(layers),
        "vocab_size": embedding.shape[0] if embedding and embedding.shape else None,
        "embedding_length": embedding.shape[-1] if embedding and embedding.shape else None,
        "feed_forward_length": up.shape[0] if up and up.shape else None,
        "attention.head_count": None,
        "attention.head_count_kv": None,
        "attention.key_length": None,
        "rope.dimension_count": None,
        "context_length": None,
    }
    for key, found in counted.items():
        said = header.own(key)
        if said is None:
            continue
        if not isinstance(said, int) or isinstance(said, bool) or not 0 < said < _LARGEST:
            raise CheckpointError(
                f"{where}: says {key} {said!r}, not a positive number that a model can have; "
                "download it again, or give a folder."
            )
        if found is not None and said != found:
            raise CheckpointError(
                f"{where}: says {key} {said:,}, and its tensors make it {found:,}; download it "
                "again, or give a folder."
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
