"""What vLLM saves less than the plan says, and what it has to be told, is said before a cut."""

import pytest
from analyses import structure_of, traits_with
from tiny_models import FAMILIES, tiny_config

from globalprune.artifacts.plans.plan import LayerCuts, PrunePlan
from globalprune.artifacts.plans.plan_effect import effect_of
from globalprune.artifacts.plans.runtime_compatibility import TRIED_IN_VLLM, vllm_notes
from globalprune.artifacts.structure import ModelTraits

STRUCTURE = structure_of(((3, 4),) * 4)
WINDOW = traits_with("gemma3_text", sliding_window=True)


def notes(traits: ModelTraits, **layers: str) -> list[str]:
    """The notes for a plan that cuts attention groups of the layers named `_0` and so on."""
    cuts = {int(name[1:]): LayerCuts(attention=groups) for name, groups in layers.items()}
    return list(vllm_notes(traits, STRUCTURE, effect_of(PrunePlan(layers=cuts), STRUCTURE)))


def test_a_layer_without_attention_still_takes_cache() -> None:
    """Of one group."""
    (found,) = notes(traits_with(), _0="all", _1="0", _3="all")

    assert found == (
        "layers without attention: 0, 3; vLLM keeps the KV cache of one group for each, which the "
        "plan counts as saved."
    )
    assert notes(traits_with(), _1="0") == []


@pytest.mark.parametrize(("groups", "told"), [("0", True), ("0-1", False), ("", False)])
def test_sizes_that_do_not_divide_the_largest_save_nothing_beside_a_window(
    groups: str, told: bool
) -> None:
    """Two of three groups do not, one does."""
    assert any("groups don't divide 3," in note for note in notes(WINDOW, _1=groups)) == told


def test_a_type_that_vllm_never_ran_is_named() -> None:
    """Those that the parity test cuts and runs in it are not."""
    (found,) = notes(traits_with("glm4"), _1="0")

    assert found.startswith("no cut of a glm4 was ever tried in vLLM; ")
    assert {tiny_config(family).model_type for family in FAMILIES} == TRIED_IN_VLLM


def test_a_plain_qwen2_of_fewer_heads() -> None:
    """Only where layers are alike, for else vLLM's own class doesn't run it."""
    width = 3 * STRUCTURE.layers[0].query_heads_per_group * STRUCTURE.layers[0].head_dim
    qwen2 = traits_with("qwen2", hidden_size=width)
    (found,) = notes(qwen2, _0="0", _1="1", _2="2", _3="0")

    assert found.endswith("start it with --model-impl transformers.")
    assert notes(qwen2) == []
    assert notes(qwen2, _1="0") == []
