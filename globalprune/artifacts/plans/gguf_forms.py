"""The architectures in which llama.cpp holds our families: facts as data, found by experiment.

It has no code of ours. Layers that differ are held where one of its own architectures happens to
count heads and channels by layer; `export/gguf` writes them, and its tests ask the real program.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from globalprune.artifacts.analyses.model_traits import ModelTraits
from globalprune.artifacts.groups import ModelStructure

_ATTENTION_INPUTS: Final = frozenset({"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"})
_ALL_PROJECTIONS: Final = _ATTENTION_INPUTS | {
    "self_attn.o_proj",
    "mlp.gate_proj",
    "mlp.up_proj",
    "mlp.down_proj",
}
_OWN_KEYS: Final = frozenset({"default", "linear", "yarn"})  # every architecture reads them
_WITH_FACTORS: Final = _OWN_KEYS | {"llama3"}  # a tensor of one factor for each frequency


@dataclass(frozen=True)
class GgufForm:
    """An architecture of llama.cpp, and what a model may be to be held in it."""

    architecture: str
    biases: frozenset[str]  # the projections that may have one
    rope_types: frozenset[str]
    by_layer: bool = False  # each layer has its own numbers of heads and channels
    untied_head: bool = True
    empty_attention: bool = False  # layers without any, behind the first
    narrow_attention: bool = True  # query heads that together are not as wide as the model
    interleaved: bool = False  # the two halves of what rope turns alternate, in every head
    fused: bool = False  # queries, keys and values are one tensor
    query_key_norms: bool = False

    def lacks(self, traits: ModelTraits, structure: ModelStructure) -> Iterator[str]:
        """Yield, in words, what it has no place for in such a model."""
        if traits.sliding_window:
            yield "no sliding window"
        if traits.activation != "silu":
            yield f"no {traits.activation}"
        if traits.rope_type not in self.rope_types:
            yield f"no {traits.rope_type} rope"
        if not (self.untied_head or traits.tied_embeddings):
            yield "no head apart from the embedding"
        if strange := sorted(_biased(structure) - self.biases):
            yield f"no bias on {', '.join(strange)}"


@dataclass(frozen=True)
class FamilyForms:
    """The two forms of a family: for layers that are alike, and for layers that differ."""

    alike: GgufForm
    by_layer: GgufForm


_DECI: Final = GgufForm(
    "deci",
    _ALL_PROJECTIONS,
    _WITH_FACTORS,
    by_layer=True,
    empty_attention=True,
    interleaved=True,
)
_OPENELM: Final = GgufForm(
    "openelm",
    frozenset(),
    _OWN_KEYS,
    by_layer=True,
    untied_head=False,
    fused=True,
    query_key_norms=True,
)
_LLAMA: Final = GgufForm("llama", _ALL_PROJECTIONS, _WITH_FACTORS, interleaved=True)
GGUF_FORMS: Final = {
    "llama": FamilyForms(_LLAMA, _DECI),
    "mistral": FamilyForms(_LLAMA, _DECI),
    "qwen2": FamilyForms(
        GgufForm("qwen2", _ATTENTION_INPUTS, _OWN_KEYS, narrow_attention=False), _DECI
    ),
    "qwen3": FamilyForms(GgufForm("qwen3", frozenset(), _OWN_KEYS, query_key_norms=True), _OPENELM),
}


def _biased(structure: ModelStructure) -> frozenset[str]:
    """The projections that have a bias in any layer, by their names below it."""
    names = {name for layer in structure.layers for name in layer.tensors}
    return frozenset(name.removesuffix(".bias") for name in names if name.endswith(".bias"))
