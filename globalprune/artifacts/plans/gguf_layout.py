"""The form in which llama.cpp holds a cut model: its architecture and the shape of every layer.

llama.cpp stores layers of different widths only in architectures of its own that count heads and
channels by layer, and pads what those can't leave empty. The table of architectures is data, found
by experiment.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from globalprune.artifacts.plans.index_set import IndexSet
from globalprune.artifacts.plans.plan_effect import LayerEffect, PlanEffect
from globalprune.artifacts.structure import (
    GROUP_TYPES,
    GroupType,
    LayerStructure,
    ModelStructure,
    ModelTraits,
)

QUANTISED_BLOCK: Final = 32  # numbers of a row that Q4_0 and Q8_0 scale together; K-quants: 256
_ATTENTION_INPUTS: Final = frozenset({"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"})
_ALL_PROJECTIONS: Final = _ATTENTION_INPUTS | {
    "self_attn.o_proj",
    "mlp.gate_proj",
    "mlp.up_proj",
    "mlp.down_proj",
}
_OWN_KEYS: Final = frozenset({"default", "linear", "yarn"})  # every architecture reads them
_WITH_FACTORS: Final = _OWN_KEYS | {"llama3"}  # a tensor of one factor for each frequency
PADDED: Final[dict[GroupType, int]] = {"attention": 1, "mlp": QUANTISED_BLOCK}  # groups of zeros


@dataclass(frozen=True)
class GgufForm:
    """An architecture of llama.cpp, and the models that it can hold."""

    architecture: str
    biases: frozenset[str]  # the projections that may have one
    rope_types: frozenset[str]
    by_layer: bool = False  # each layer has its own numbers of heads and channels
    untied_head: bool = True
    empty_attention: bool = False  # layers without any, behind the first
    narrow_attention: bool = True  # query heads that together are not as wide as the model
    interleaved: bool = False  # rope pairs neighbouring rows of a head, not its two halves
    fused: bool = False  # queries, keys and values are one tensor
    query_key_norms: bool = False

    def missing_features(self, traits: ModelTraits, structure: ModelStructure) -> Iterator[str]:
        """Yield what such a model has and this architecture can't hold: "no sliding window"."""
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
    """The architectures of a family: for layers that are alike, and for layers that differ."""

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
    """Return the projections that have a bias in any layer, by their names below it."""
    names = {name for layer in structure.layers for name in layer.tensors}
    return frozenset(name.removesuffix(".bias") for name in names if name.endswith(".bias"))


@dataclass(frozen=True)
class GgufLayer:
    """One layer of the file; `layer_idx` is its number in the original model."""

    layer_idx: int
    groups: dict[GroupType, int]  # padded ones included
    query_heads_per_group: int
    head_dim: int
    padded: tuple[GroupType, ...] = ()  # the sublayers that are zeros alone

    @property
    def query_heads(self) -> int:
        """Return the query heads, padded ones included."""
        return self.groups["attention"] * self.query_heads_per_group

    def padding(self, hidden_size: int) -> int:
        """Return the number of zeros that pad it: in q, o, k and v; in gate, up and down."""
        rows = {"attention": 2 * (self.query_heads_per_group + 1) * self.head_dim, "mlp": 3}
        return sum(self.groups[kind] * rows[kind] * hidden_size for kind in self.padded)


@dataclass(frozen=True)
class GgufShape:
    """The architecture that holds a model, and its layers in the file's order."""

    form: GgufForm
    layers: tuple[GgufLayer, ...]

    def padding(self, hidden_size: int) -> int:
        """Return the number of zeros that pad the model."""
        return sum(layer.padding(hidden_size) for layer in self.layers)

    def padding_notes(self, hidden_size: int) -> Iterator[str]:
        """Yield a sentence that names the padded sublayers, if there are any."""
        sublayers = [
            f"the {'MLP' if kind == 'mlp' else kind} of layer{'s' * (len(at) > 1)} {at}"
            for kind in GROUP_TYPES
            if (at := IndexSet.of(one.layer_idx for one in self.layers if kind in one.padded))
        ]
        if sublayers:
            yield (
                f"{' and '.join(sublayers)}: empty, which llama.cpp's {self.form.architecture} "
                f"can't hold; gp export pads with zeros, {self.padding(hidden_size):,} parameters."
            )


def gguf_shape(
    traits: ModelTraits, structure: ModelStructure, effect: PlanEffect
) -> GgufShape | None:
    """Return how llama.cpp holds what a plan leaves; None for a family that it can't hold."""
    forms = GGUF_FORMS.get(traits.model_type)
    if forms is None:
        return None
    kept = [
        layer
        for layer in effect.kept_layers
        if _adds_something(layer, structure.layers[layer.layer_idx])
    ]
    form = _form(forms, kept, structure, traits.hidden_size)
    layers = (
        _layer(form, place, one, structure.layers[one.layer_idx]) for place, one in enumerate(kept)
    )
    return GgufShape(form, tuple(layers))


def _adds_something(effect: LayerEffect, layer: LayerStructure) -> bool:
    """Whether a layer changes the residual stream; a checkpoint may hold one that doesn't."""
    return any(effect.of(kind) or layer.sublayer(kind).kept for kind in GROUP_TYPES)


def _form(
    forms: FamilyForms, kept: Sequence[LayerEffect], structure: ModelStructure, hidden_size: int
) -> GgufForm:
    """The family's own architecture where layers are alike, else the one that counts by layer."""
    sizes = set()
    for one in kept:
        layer = structure.layers[one.layer_idx]
        queries = len(one.attention) * layer.query_heads_per_group * layer.head_dim
        sizes.add((queries, len(one.attention), len(one.mlp)))
    alike = len(sizes) == 1 and not any(0 in size for size in sizes)
    narrow = any(queries != hidden_size for queries, _, _ in sizes)
    return forms.alike if alike and (forms.alike.narrow_attention or not narrow) else forms.by_layer


def _layer(form: GgufForm, place: int, effect: LayerEffect, layer: LayerStructure) -> GgufLayer:
    """One layer, padded where it can't be empty: an output bias needs a projection."""
    may_be_empty: dict[GroupType, bool] = {
        "attention": form.empty_attention and place > 0 and not layer.attention.kept,
        "mlp": False,
    }
    padded = tuple(kind for kind in GROUP_TYPES if not effect.of(kind) and not may_be_empty[kind])
    groups = {
        kind: PADDED[kind] if kind in padded else len(effect.of(kind)) for kind in GROUP_TYPES
    }
    return GgufLayer(effect.layer_idx, groups, layer.query_heads_per_group, layer.head_dim, padded)
