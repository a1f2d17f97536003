"""Pins: wishes that planning keeps, and contradictions that it refuses."""

import re

import pytest
from analyses import analysis_of, structure_of, traits_with

from globalprune.artifacts.plans.plan import Constraints, LayerPins, Target
from globalprune.artifacts.structure import ModelTraits
from globalprune.errors import PlanInvalid, UsageError
from globalprune.planning.eligibility import Pins, add_runtime_constraints
from globalprune.planning.planner import PlanResult, make_plan

SHAPE = ((3, 8), (3, 8), (3, 8))


def planned(
    pins: dict[int, object], ratio: float = 0.4, measured: range | None = None
) -> PlanResult:
    """A plan under these pins."""
    analysis = analysis_of(structure_of(SHAPE), layers=measured)
    layers = {layer: LayerPins.model_validate(pin) for layer, pin in pins.items()}
    return make_plan(analysis, Target(ratio=ratio), pins=Pins(layers, "plan.yaml"))


@pytest.mark.parametrize("ratio", [0.1, 0.4, 0.6])
def test_what_is_pinned_to_stay_stays(ratio: float) -> None:
    """No budget takes a kept group, and the ratio is reached with others."""
    result = planned({1: {"attention": {"keep": "all"}, "mlp": {"keep": "0, 5"}}}, ratio)

    assert list(result.effect.layers[1].attention) == [0, 1, 2]
    assert {0, 5} <= set(result.effect.layers[1].mlp)
    assert result.is_met


@pytest.mark.parametrize("ratio", [0, 0.1, 0.6])
def test_what_is_pinned_to_go_goes(ratio: float) -> None:
    """A removal that is pinned counts towards the ratio."""
    result = planned({2: {"mlp": {"remove": "1-3"}}}, ratio)

    assert not {1, 2, 3} & set(result.effect.layers[2].mlp)
    assert result.effect.removed >= result.statuses[0].requirement.to_save


@pytest.mark.parametrize("width", [0, 2, 8])
def test_a_pinned_width_is_exact_and_keeps_the_best(width: int) -> None:
    """Exactly that many stay, whatever the ratio: those of the highest scores."""
    analysis = analysis_of(structure_of(SHAPE))
    pins = Pins({0: LayerPins.model_validate({"mlp": {"width": width}})})
    for ratio in (0.0, 0.3, 0.6):
        stays = make_plan(analysis, Target(ratio=ratio), pins=pins).effect.layers[0].mlp
        table = analysis.table
        rows = (table.layer_idx == 0) & (table.group_type == 1)
        best = table.group_idx[rows].tolist()[8 - width :]  # the table is sorted by score

        assert sorted(best) == list(stays)


def test_pins_survive_in_the_plan() -> None:
    """The plan carries the wishes that it was made with, ready for the next replanning."""
    pins = {1: LayerPins.model_validate({"mlp": {"keep": "0"}})}

    assert planned({1: {"mlp": {"keep": "0"}}}).plan.pin == pins


def test_pins_that_remove_more_than_asked_are_said() -> None:
    """Pins bind even where they overshoot; a note says so."""
    result = planned({0: {"attention": {"remove": "all"}}}, ratio=0.01)

    assert result.effect.removed == 150
    assert re.search(
        r"pins alone remove 150 parameters, more than the \d+ parameters required",
        result.warnings[0],
    )


@pytest.mark.parametrize(("ratio", "noted"), [(0.01, True), (0.5, False)])
def test_pins_are_said_to_overshoot_only_when_they_do(ratio: float, *, noted: bool) -> None:
    """By one parameter or by many; the last group of the walk is no pin."""
    result = planned({0: {"mlp": {"remove": "0-1"}}}, ratio)

    assert any("the pins alone" in note for note in result.warnings) is noted


def test_a_ratio_that_pins_make_impossible_gives_the_largest_plan() -> None:
    """What is pinned to stay is never sacrificed to the ratio."""
    result = planned({layer: {"attention": {"keep": "all"}} for layer in range(3)}, ratio=0.6)

    assert not result.is_met
    assert all(len(layer.attention) == 3 for layer in result.effect.layers)
    assert all(not layer.mlp for layer in result.effect.layers)


@pytest.mark.parametrize(
    ("pins", "message"),
    [
        pytest.param(
            {0: {"mlp": {"keep": "1-3", "remove": "3-4"}}},
            r"pin.0.mlp.remove: 3 is both in keep and in remove; name it in one",
            id="both",
        ),
        pytest.param(
            {0: {"mlp": {"keep": "1-3", "width": 2}}},
            r"pin.0.mlp.width: 2 is less than the 3 groups of keep; write more",
            id="narrow",
        ),
        pytest.param(
            {0: {"attention": {"remove": "0-1", "width": 2}}},
            r"pin.0.attention.width: 2 is more than the 1 that remove leaves; write less",
            id="wide",
        ),
        pytest.param(
            {layer: {"attention": {"width": 0}, "mlp": {"width": 0}} for layer in range(3)},
            r"the pins remove every group of the model; keep some of them",
            id="nothing left",
        ),
    ],
)
def test_contradictions_are_refused(pins: dict[int, object], message: str) -> None:
    """Pins that no plan can keep are an error with the way to them."""
    with pytest.raises(PlanInvalid, match=message):
        planned(pins)


def test_all_contradictions_come_at_once() -> None:
    """Nobody mends a file three times."""
    wrong = {"keep": "0", "remove": "0", "width": 0}
    with pytest.raises(PlanInvalid, match=r"^plan.yaml: 4 problems") as caught:
        planned({0: {"mlp": wrong}, 2: {"attention": wrong}})

    assert len(caught.value.problems) == 4


def test_a_layer_that_was_not_measured_can_only_be_kept() -> None:
    """`--layers` limits what is cut, so a pin can't cut elsewhere; keeping costs nothing."""
    kept = planned({0: {"mlp": {"keep": "0"}}}, ratio=0.05, measured=range(1, 3))
    assert kept.is_met

    with pytest.raises(PlanInvalid, match=r"pin.0.mlp: layer 0 was not measured.* covers 1:3"):
        planned({0: {"mlp": {"remove": "0"}}}, ratio=0.05, measured=range(1, 3))


WIDE = structure_of(((3, 96), (3, 96)))


def bound(**said: object) -> Constraints:
    """What binds a plan of a wide Llama."""
    asked = Constraints.model_validate(said)
    return add_runtime_constraints(asked, analysis_of(WIDE, traits=traits_with()).record)


def test_widths_for_llama_cpp_are_multiples_of_what_is_quantised_together() -> None:
    """A person's multiple counts too; a width that is no multiple itself asks for less."""
    assert bound(runtime="llama.cpp").round_mlp == 32
    assert bound(runtime="llama.cpp", round_mlp=48).round_mlp == 96
    assert bound(runtime="llama.cpp", min_mlp=40).min_mlp == 40
    odd = analysis_of(structure_of(((3, 40), (3, 40))), traits=traits_with())
    assert add_runtime_constraints(Constraints(runtime="llama.cpp"), odd.record).round_mlp == 8


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
    assert add_runtime_constraints(Constraints(runtime="llama.cpp"), record).uniform == uniform


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
        add_runtime_constraints(Constraints(runtime="llama.cpp"), record)


def test_layers_that_llama_cpp_counts_by_their_place_stay() -> None:
    """Plans of whole layers are refused for it, and models that it miscounts uncut."""
    structure = structure_of(((3, 96),) * 4)
    whole = Constraints(runtime="any", whole_layers=True)
    counted = analysis_of(structure, traits=traits_with("smollm3"))
    with pytest.raises(
        UsageError, match=r"--for any --whole-layers: llama\.cpp tells by its place"
    ):
        add_runtime_constraints(whole, counted.record)
    assert add_runtime_constraints(Constraints(runtime="any"), counted.record).uniform
    traits = traits_with("smollm3", layer_kinds=("full", "no_rope", "full", "full"))
    odd = analysis_of(structure, traits=traits)
    with pytest.raises(UsageError, match="--for any: no plan makes this model load there: llama"):
        add_runtime_constraints(Constraints(runtime="any"), odd.record)
