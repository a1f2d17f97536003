"""`--for RUNTIME` becomes constraints that a selection keeps, and clashes are refused by name."""

import pytest
from analyses import analysis_of, structure_of, traits_with

from globalprune.artifacts.plans.plan import Constraints, Target
from globalprune.artifacts.structure import ModelTraits
from globalprune.errors import UsageError
from globalprune.planning.planner import make_plan
from globalprune.planning.runtime_bounds import bound_by_runtime

WIDE = structure_of(((3, 96), (3, 96)))


def bound(**said: object) -> Constraints:
    """What binds a plan of a wide Llama."""
    asked = Constraints.model_validate(said)
    return bound_by_runtime(asked, analysis_of(WIDE, traits=traits_with()).record)


def test_widths_for_llama_cpp_are_multiples_of_what_is_quantised_together() -> None:
    """A person's multiple counts too; a width that is no multiple itself asks for less."""
    assert bound(runtime="llama.cpp").round_mlp == 32
    assert bound(runtime="llama.cpp", round_mlp=48).round_mlp == 96
    assert bound(runtime="llama.cpp", min_mlp=40).min_mlp == 40
    odd = analysis_of(structure_of(((3, 40), (3, 40))), traits=traits_with())
    assert bound_by_runtime(Constraints(runtime="llama.cpp"), odd.record).round_mlp == 8


def test_any_is_uniform_unless_whole_layers_go() -> None:
    """Both leave layers that are alike."""
    assert bound(runtime="any").uniform
    assert not bound(runtime="any", whole_layers=True).uniform
    with pytest.raises(UsageError, match="--for any needs layers that are alike: uniform and prot"):
        bound(runtime="any", protect_layers="0")


@pytest.mark.parametrize("runtime", ["transformers", "vllm"])
def test_transformers_and_vllm_ask_for_nothing(runtime: str) -> None:
    """They load every cut."""
    asked = Constraints.model_validate({"runtime": runtime})
    assert bound(runtime=runtime) == asked


def test_an_old_analysis_is_told_to_be_made_again() -> None:
    """Without traits nobody knows what llama.cpp would say."""
    analysis = analysis_of(WIDE)
    with pytest.raises(UsageError, match="before traits of the model were recorded; run gp analyz"):
        make_plan(analysis, Target(ratio=0.1, constraints=Constraints(runtime="any")))


def test_llama_cpp_asks_for_no_group_that_must_stay() -> None:
    """What is empty is padded by gp export."""
    analysis = analysis_of(WIDE, traits=traits_with())
    constraints = Constraints(runtime="llama.cpp", only="attention")
    effect = make_plan(analysis, Target(ratio=0.2, constraints=constraints)).effect

    assert [len(layer.attention) for layer in effect.layers] == [0, 0]


@pytest.mark.parametrize(
    ("traits", "uniform"),
    [(traits_with("qwen3", tied_embeddings=True), False), (traits_with("qwen3"), True)],
)
def test_layers_are_alike_where_llama_cpp_wants_them_to_be(
    traits: ModelTraits, uniform: bool
) -> None:
    """Its form for layers that differ has no place for a head apart from the embedding."""
    record = analysis_of(WIDE, traits=traits).record
    assert bound_by_runtime(Constraints(runtime="llama.cpp"), record).uniform == uniform


@pytest.mark.parametrize(
    ("traits", "message"),
    [
        (traits_with("mistral", sliding_window=True), "no plan makes this mistral load there: its"),
        (traits_with("granite"), "gp export knows no form of granite there"),
    ],
)
def test_what_no_plan_makes_load_is_refused(traits: ModelTraits, message: str) -> None:
    """Before anything is chosen."""
    record = analysis_of(WIDE, traits=traits).record
    with pytest.raises(UsageError, match=f"--for llama.cpp: {message}"):
        bound_by_runtime(Constraints(runtime="llama.cpp"), record)


def test_layers_that_llama_cpp_counts_by_their_place_stay() -> None:
    """Plans of whole layers are refused for it, and models that it miscounts uncut."""
    structure = structure_of(((3, 96),) * 4)
    whole = Constraints(runtime="any", whole_layers=True)
    counted = analysis_of(structure, traits=traits_with("smollm3"))
    with pytest.raises(
        UsageError, match=r"--for any --whole-layers: llama\.cpp tells by its place"
    ):
        bound_by_runtime(whole, counted.record)
    assert bound_by_runtime(Constraints(runtime="any"), counted.record).uniform
    traits = traits_with("smollm3", layer_kinds=("full", "no_rope", "full", "full"))
    odd = analysis_of(structure, traits=traits)
    with pytest.raises(UsageError, match="--for any: no plan makes this model load there: llama"):
        bound_by_runtime(Constraints(runtime="any"), odd.record)
