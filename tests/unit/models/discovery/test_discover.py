"""Discovery, which knows no family, finds what the table of families says."""

from dataclasses import replace
from typing import Any

import pytest
from met_models import met_config
from tiny_models import tiny_config

from globalprune.errors import UnsupportedArchitecture
from globalprune.models.discovery.description import adapter_of
from globalprune.models.discovery.discover import discover, refuse_other_model
from globalprune.models.discovery.sizes import SIZES
from globalprune.models.gated_decoder.adapter import GatedDecoder
from globalprune.models.gated_decoder.form import LayerForm
from globalprune.models.registry import ADAPTERS

DENSE = [
    name for name, own in ADAPTERS.items() if isinstance(own, GatedDecoder) and not own.form.mixture
]
OWN: dict[str, dict[str, Any]] = {"granite": {"residual_multiplier": 0.5}}


def without_lengths(form: LayerForm) -> LayerForm:
    """The form, whichever of its tensors the lengths of axes are read off."""
    return replace(form, projections=replace(form.projections, measured_at={}))


@pytest.mark.parametrize("name", DENSE)
def test_discovery_finds_what_the_table_says(name: str) -> None:
    """Projections and their axes, norms, gate and activation, scale and offset."""
    found = adapter_of(discover(met_config(name, **OWN.get(name, {})), SIZES))
    known = ADAPTERS[name]

    assert isinstance(known, GatedDecoder)
    assert without_lengths(found.form) == without_lengths(known.form)
    assert replace(found, form=known.form) == known


def test_all_dense_families_of_the_table_are_compared() -> None:
    """Ten of twelve; the others are mixtures."""
    assert len(DENSE) == 10


def test_norms_over_all_heads_are_why_an_attention_is_refused() -> None:
    """OLMo 2's; the proof of its MLP is another matter."""
    attention, mlp = (own for _, own in discover(met_config("olmo2"), SIZES).sublayers())

    assert attention.refused == "its norms q_norm and k_norm span all heads"
    assert attention.groups is None
    assert mlp.refused is None


def test_biases_are_found_where_the_config_asks_for_them() -> None:
    """They belong to the rows of their projection."""
    raw = tiny_config("llama_tied_bias").to_dict() | {"model_type": "llama"}
    attention, mlp = (own for _, own in discover(raw, SIZES).sublayers())

    assert attention.tensors["self_attn.q_proj.bias"].sliced == 0
    assert attention.tensors["self_attn.o_proj.bias"].sliced is None
    assert mlp.tensors["mlp.up_proj.bias"].sliced == 0


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ({"model_type": "gemma3", "text_config": {}}, "wraps a language model"),
        ({"model_type": "siglip"}, "no causal language model"),
        ({"model_type": "no-such-type"}, "doesn't know"),
        ({"model_type": "gpt2"}, r"not called model\.layers"),
    ],
)
def test_other_models_are_refused_before_a_small_one_is_built(
    config: dict[str, Any], reason: str
) -> None:
    """The reason says what they are."""
    with pytest.raises(UnsupportedArchitecture, match=reason):
        refuse_other_model(config)
