"""What llama.cpp and plain checkpoints can't hold is said before a cut, layer by layer."""

import pytest
from analyses import structure_of, traits_with

from globalprune.artifacts.analyses.model_traits import ModelTraits
from globalprune.artifacts.plans.plan_effect import effect_of
from globalprune.artifacts.plans.prune_plan import LayerCuts, PrunePlan
from globalprune.artifacts.plans.runtime_obstacles import obstacles
from globalprune.artifacts.plans.runtimes import RUNTIMES, Runtime, uneven_gguf

STRUCTURE = structure_of(((3, 4),) * 4)


def told(runtime: Runtime, traits: ModelTraits, **layers: dict[str, str]) -> list[str]:
    """The obstacles for a plan, whose layers are named `_0` and so on."""
    cuts = {int(name[1:]): LayerCuts.model_validate(half) for name, half in layers.items()}
    plan = PrunePlan(layers=cuts)
    return list(obstacles(runtime, traits, STRUCTURE, effect_of(plan, STRUCTURE)))


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_nothing_cut_and_whole_layers_load_everywhere(runtime: Runtime) -> None:
    """A layer less is a plain checkpoint."""
    assert told(runtime, traits_with()) == []
    assert told(runtime, traits_with("qwen3"), _1={"attention": "all", "mlp": "all"}) == []


@pytest.mark.parametrize("runtime", ["transformers", "vllm"])
def test_our_modeling_file_takes_every_shape(runtime: Runtime) -> None:
    """Empty halves too."""
    assert told(runtime, traits_with(), _0={"attention": "all"}, _2={"mlp": "all"}) == []


def test_llama_cpp_takes_widths_that_differ_but_no_empty_mlp_and_no_empty_first_attention() -> None:
    """Later attentions may be empty; of a dropped first layer the next one is the first."""
    plain = traits_with()
    assert (
        told("llama.cpp", plain, _1={"attention": "0", "mlp": "2"}, _2={"attention": "all"}) == []
    )
    (found,) = told("llama.cpp", plain, _1={"mlp": "all"}, _3={"mlp": "all"})
    assert found == (
        "layers 1, 3: no MLP is left, which llama.cpp can't hold (as its deci); keep a group of "
        "it, or let the whole layer go."
    )
    gone = {"attention": "all", "mlp": "all"}
    for first in ({"_0": {"attention": "all"}}, {"_0": gone, "_1": {"attention": "all"}}):
        (found,) = told("llama.cpp", plain, **first)
        assert "no attention is left, which llama.cpp can't hold (as its deci)" in found


def test_openelm_takes_no_empty_half_at_all() -> None:
    """The form for Qwen3, whose norms of queries and keys deci lacks."""
    tied = traits_with("qwen3", tied_embeddings=True)
    assert told("llama.cpp", tied, _1={"attention": "0"}) == []
    assert "layer 2: no attention is left" in told("llama.cpp", tied, _2={"attention": "all"})[0]


@pytest.mark.parametrize(
    "traits",
    [
        traits_with("qwen3"),
        traits_with("mistral", sliding_window=True),
        traits_with("llama", rope_type="yarn"),
        traits_with("llama", activation="gelu"),
        traits_with("granite"),
    ],
)
def test_variants_without_a_form_must_be_alike(traits: ModelTraits) -> None:
    """Unlike layers are refused by name, layers that are alike load."""
    assert uneven_gguf(traits) is None
    (found,) = told("llama.cpp", traits, _1={"mlp": "0"})
    assert found.startswith(f"llama.cpp has no form of this {traits.model_type} in which layers")
    alike = {f"_{layer}": {"mlp": str(layer)} for layer in range(4)}
    assert told("llama.cpp", traits, **alike) == []


def test_a_plain_checkpoint_is_uniform_and_its_config_takes_the_heads() -> None:
    """Llama's own config wants hidden_size to be a multiple of the heads; Mistral's doesn't."""
    (found,) = told("any", traits_with(), _1={"mlp": "0"})
    assert found.startswith("the layers that stay differ, which a plain checkpoint can't say")
    two_left = {f"_{layer}": {"attention": str(layer % 3)} for layer in range(4)}
    assert told("any", traits_with(hidden_size=12), **two_left) == []
    assert told("any", traits_with("mistral", hidden_size=6), **two_left) == []
    assert told("any", traits_with(hidden_size=6), **two_left) == [
        "a config of llama takes no 4 heads at a hidden size of 6; keep 1 or 3 attention groups."
    ]
