"""The proof admits what is exact, and refuses descriptions into which a fault is planted."""

from dataclasses import replace
from typing import Any

import pytest
from met_models import met_config

from globalprune.artifacts.structure import GroupType, LayerStructure
from globalprune.errors import UnsupportedArchitecture
from globalprune.models.architecture import GroupAxis
from globalprune.models.discovery.description import adapter_of
from globalprune.models.discovery.discover import discover
from globalprune.models.discovery.proof import Subject, prove, subject_of
from globalprune.models.discovery.sizes import SIZES
from globalprune.models.discovery.small_model import small_config
from globalprune.models.gated_decoder.adapter import GatedDecoder
from globalprune.models.gated_decoder.form import PER_HEAD
from globalprune.models.registry import ADAPTERS


def subject(adapter: Any, model_type: str = "llama", **overrides: Any) -> Subject:
    """A small model of the type, read through the adapter."""
    config = small_config(met_config(model_type, **overrides), SIZES[0])
    return subject_of(config, adapter)


class WithoutKeys(GatedDecoder):
    """Forgets that key rows go with their groups."""

    def axes(self, layer: LayerStructure, group_type: GroupType) -> tuple[GroupAxis, ...]:
        """Return all but those of the keys."""
        own = super().axes(layer, group_type)
        return tuple(axis for axis in own if "k_proj" not in axis.tensor)


@pytest.mark.parametrize("name", ["phi3", "gemma3_text"])
def test_families_of_the_table_are_proved(name: str) -> None:
    """As they are served."""
    prove(subject(ADAPTERS[name], name), ["attention", "mlp"])


def test_tied_embeddings_and_biases_are_no_obstacle() -> None:
    """Output biases stay in an emptied sublayer."""
    settings = {"attention_bias": True, "mlp_bias": True, "tie_word_embeddings": True}
    prove(subject(ADAPTERS["llama"], "llama", **settings), ["attention", "mlp"])


def test_fused_blocks_in_another_order_are_refused() -> None:
    """Keys, values, queries have the right shapes, and are not what the class computes."""
    adapter = ADAPTERS["phi3"]
    assert isinstance(adapter, GatedDecoder)
    sublayers = dict(adapter.form.projections.sublayers)
    sublayers["attention"] = {**sublayers["attention"], "self_attn.qkv_proj": ("KKQ", "D")}
    projections = replace(adapter.form.projections, sublayers=sublayers)
    wrong = replace(adapter, form=replace(adapter.form, projections=projections))
    one = subject(wrong, "phi3")

    prove(one, ["mlp"])
    with pytest.raises(UnsupportedArchitecture, match="differs from the masked model"):
        prove(one, ["attention"])


def test_rows_that_are_left_behind_are_refused() -> None:
    """The class has no place for them."""
    one = subject(WithoutKeys("llama"))

    prove(one, ["mlp"])
    with pytest.raises(UnsupportedArchitecture, match=r"wants .*k_proj\.weight to be"):
        prove(one, ["attention"])


def test_norms_over_all_heads_are_refused_where_they_count_as_those_of_one() -> None:
    """OLMo 2's attention, described as Qwen3's would be."""
    olmo2 = ADAPTERS["olmo2"]
    assert isinstance(olmo2, GatedDecoder)
    wrong = replace(olmo2, form=replace(olmo2.form, query_key_norms=PER_HEAD))

    with pytest.raises(UnsupportedArchitecture, match="spans all heads"):
        subject(wrong, "olmo2")


def test_a_class_that_ignores_its_heads_is_refused_for_its_attention_alone() -> None:
    """Helium's output projection has the hidden size on both sides."""
    from globalprune.models.discovery.sizes import SQUARE_SIZES

    config = met_config("helium")
    adapter = adapter_of(discover(config, SQUARE_SIZES))
    one = subject_of(small_config(config, SQUARE_SIZES[0]), adapter)

    prove(one, ["mlp"])
    with pytest.raises(UnsupportedArchitecture, match=r"its class wants .*o_proj\.weight"):
        prove(one, ["attention"])
