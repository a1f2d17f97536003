"""What llama.cpp and plain checkpoints can't hold is said before a cut, layer by layer."""

import pytest
from analyses import structure_of, traits_with

from globalprune.artifacts.plans.plan import RUNTIMES, LayerCuts, PrunePlan, Runtime
from globalprune.artifacts.plans.plan_effect import effect_of
from globalprune.artifacts.plans.runtime_compatibility import obstacles
from globalprune.artifacts.structure import ModelTraits

STRUCTURE = structure_of(((3, 4),) * 4)


def told(runtime: Runtime, traits: ModelTraits, **layers: dict[str, str]) -> list[str]:
    """The obstacles for a plan, whose layers are named `_0` and so on."""
    cuts = {int(name[1:]): LayerCuts.model_validate(sublayer) for name, sublayer in layers.items()}
    plan = PrunePlan(layers=cuts, remove_empty_layers=len(cuts) < len(STRUCTURE.layers))
    return list(obstacles(runtime, traits, STRUCTURE, effect_of(plan, STRUCTURE)))


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_nothing_cut_and_whole_layers_load_everywhere(runtime: Runtime) -> None:
    """A layer less is a plain checkpoint."""
    assert told(runtime, traits_with()) == []
    assert told(runtime, traits_with("qwen3"), _1={"attention": "all", "mlp": "all"}) == []


@pytest.mark.parametrize("runtime", ["transformers", "vllm"])
def test_our_modeling_file_takes_every_shape(runtime: Runtime) -> None:
    """Empty sublayers too."""
    assert told(runtime, traits_with(), _0={"attention": "all"}, _2={"mlp": "all"}) == []


@pytest.mark.parametrize(
    "traits", [traits_with(), traits_with("qwen3", tied_embeddings=True)], ids=["deci", "openelm"]
)
def test_llama_cpp_takes_widths_that_differ_and_empty_sublayers(traits: ModelTraits) -> None:
    """The exporter pads what may not be empty; a model without any layer it can't write."""
    assert told("llama.cpp", traits, _1={"attention": "0", "mlp": "2"}) == []
    assert told("llama.cpp", traits, _0={"attention": "all"}, _2={"mlp": "all"}) == []
    nothing = {f"_{layer}": {"attention": "all", "mlp": "all"} for layer in range(4)}
    assert told("llama.cpp", traits, **nothing) == [
        "no layer has anything left, and llama.cpp wants one."
    ]


def test_a_variant_with_a_form_for_layers_that_are_alike_alone() -> None:
    """The larger Qwen3 have a head of their own, for which openelm has no place."""
    traits = traits_with("qwen3")
    (found,) = told("llama.cpp", traits, _1={"mlp": "0"})
    alike = {f"_{layer}": {"mlp": str(layer)} for layer in range(4)}

    assert found == (
        "llama.cpp has no form of this qwen3 in which layers differ (its openelm has no head apart "
        "from the embedding); plan with --uniform, or with --whole-layers."
    )
    assert told("llama.cpp", traits, **alike) == []


@pytest.mark.parametrize(
    ("traits", "lacking"),
    [
        (traits_with("mistral", sliding_window=True), "its deci has no sliding window"),
        (traits_with("llama", rope_type="longrope"), "its deci has no longrope rope"),
        (traits_with("llama", activation="gelu"), "its deci has no gelu"),
    ],
)
def test_variants_without_any_form(traits: ModelTraits, lacking: str) -> None:
    """No plan would help."""
    (found,) = told("llama.cpp", traits, _1={"mlp": "0"})
    assert found.startswith(f"llama.cpp has no form of this {traits.model_type}: {lacking}")
    (alike,) = told("llama.cpp", traits)
    assert alike == found.replace("deci", "llama")


def test_families_that_export_does_not_know() -> None:
    """By name."""
    (found,) = told("llama.cpp", traits_with("granite"))
    assert found == (
        "gp export knows no form of granite in llama.cpp; plan with --for any, and give the plain "
        "checkpoint to llama.cpp's own converter."
    )


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
