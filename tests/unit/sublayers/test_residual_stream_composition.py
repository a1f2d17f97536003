"""Sublayers run one after the other are the model, and what is not so is refused."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from compensating import leaving, running
from tiny_models import FAMILIES, random_ids, tiny_model
from torch import nn
from uneven_models import ONLY_ATTENTION, save_uneven, uneven_cut

from globalprune.errors import NonFiniteError, UnsupportedArchitecture
from globalprune.sublayers.residual_stream import SublayerModel, check_composition
from globalprune.sublayers.sublayer import layer_calls

Tiny = Callable[[str], Path]
IDS = random_ids(2, 9)
SUBJECTS = [
    *FAMILIES,
    *(f"{family}, uneven" for family in FAMILIES),
    "llama, no attention",
    "llama_tied_bias, no attention",
]


@pytest.fixture(params=SUBJECTS)
def subject(request: pytest.FixtureRequest, tiny: Tiny, tmp_path: Path) -> SublayerModel:
    """A model of every family, as it is and with layers of all sizes."""
    family, _, cut = request.param.partition(", ")
    if not cut:
        return running(tiny(family))
    gone = uneven_cut(family) if cut == "uneven" else ONLY_ATTENTION
    save_uneven(tmp_path, tiny_model(family), gone)
    return running(tmp_path)


def hooks_of(model: nn.Module) -> int:
    """How many hooks hang on a model, and forwards that aren't those of a class."""
    return sum(
        len(module._forward_hooks) + len(module._forward_pre_hooks) + ("forward" in vars(module))
        for module in model.modules()
    )


def entering_layers(subject: SublayerModel) -> list[torch.Tensor]:
    """The model's own stream before every layer, and behind the last."""
    with torch.no_grad():
        states = subject.module(IDS, output_hidden_states=True).hidden_states
    return [*states[:-1], leaving(subject.module, IDS)]  # the last of `states` is normalised


def entering_outputs(subject: SublayerModel) -> list[torch.Tensor]:
    """What enters every output projection that is left, in the model's own run."""
    outputs = [sublayer.output for sublayer in subject.sublayers if sublayer.output is not None]
    seen: list[torch.Tensor] = []
    handles = [
        output.register_forward_pre_hook(lambda _module, args: seen.append(args[0]))
        for output in outputs
    ]
    with torch.no_grad():
        subject.module(IDS)
    for handle in handles:
        handle.remove()
    assert len(seen) == len(outputs)
    return seen


@torch.no_grad()
def test_the_sublayers_one_by_one_are_the_model(subject: SublayerModel) -> None:
    """Behind every layer the stream is the model's own, and at the end too."""
    expected = entering_layers(subject)
    calls = layer_calls(subject.module, subject.layers, IDS)
    stream = calls.stream
    assert [sublayer.key for sublayer in subject.sublayers] == [
        (layer, kind) for layer in range(len(subject.layers)) for kind in ("attention", "mlp")
    ]
    for sublayer in subject.sublayers:
        if sublayer.key[1] == "attention":
            torch.testing.assert_close(stream, expected[sublayer.key[0]])
        stream = sublayer.advance(stream, calls)
    torch.testing.assert_close(stream, expected[-1])


@torch.no_grad()
def test_the_inputs_are_what_enters_the_output_projection(subject: SublayerModel) -> None:
    """As the model itself feeds it, all columns of all groups; of an emptied sublayer, none."""
    expected = iter(entering_outputs(subject))
    calls = layer_calls(subject.module, subject.layers, IDS)
    stream = calls.stream
    for sublayer in subject.sublayers:
        inputs = sublayer.inputs(stream, calls)
        if sublayer.output is None:
            assert inputs.shape == (*stream.shape[:2], 0)
        else:
            assert inputs.shape[-1] == sublayer.output.in_features
            assert sublayer.output.in_features % sublayer.width == 0
            torch.testing.assert_close(inputs, next(expected))
        stream = sublayer.advance(stream, calls)


@torch.no_grad()
def test_looking_leaves_no_trace(subject: SublayerModel) -> None:
    """No hook, no forward of its own, the same logits to the last bit."""
    before = subject.module(IDS).logits
    calls = layer_calls(subject.module, subject.layers, IDS)
    for sublayer in subject.sublayers:
        sublayer.inputs(calls.stream, calls)
    check_composition(subject, IDS)
    assert torch.equal(subject.module(IDS).logits, before)
    assert hooks_of(subject.module) == 0


def test_half_precision_passes_the_check(tiny: Tiny) -> None:
    """Rounding is no other composition."""
    found = running(tiny("qwen3"), torch.bfloat16)
    check_composition(found, IDS)


def parallel(layer: Any, hidden_states: torch.Tensor, **beside: Any) -> torch.Tensor:
    """A layer whose sublayers both read the stream that enters it, as some families' do."""
    attended = layer.self_attn(hidden_states=layer.input_layernorm(hidden_states), **beside)[0]
    fed = layer.mlp(layer.post_attention_layernorm(hidden_states))
    total: torch.Tensor = hidden_states + attended + fed
    return total


def scaled(layer: Any, hidden_states: torch.Tensor, **beside: Any) -> torch.Tensor:
    """A layer that scales what its sublayers add."""
    added = 0.5 * (parallel(layer, hidden_states, **beside) - hidden_states)
    total: torch.Tensor = hidden_states + added
    return total


def broken(layer: Any, hidden_states: torch.Tensor, **_: Any) -> torch.Tensor:
    """A layer that makes no numbers."""
    del layer
    return hidden_states * torch.nan


@pytest.mark.parametrize("forward", [parallel, scaled])
def test_layers_of_another_composition_are_refused(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch, forward: Callable[..., torch.Tensor]
) -> None:
    """The message names the model, how far off it is, and the way without compensation."""
    found = running(tiny("llama"))
    monkeypatch.setattr(type(found.layers[0]), "forward", forward)
    text = (
        r"LlamaForCausalLM: its layers don't add attention and MLP to one residual stream "
        r"\(rebuilt from its sublayers, the stream is off by \d+\.\d%\).*"
        r"apply the plan without compensation"
    )
    with pytest.raises(UnsupportedArchitecture, match=text):
        check_composition(found, IDS)
    assert hooks_of(found.module) == 0


def test_a_stream_that_is_no_number_is_called_so(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says nothing of how the layers are composed."""
    found = running(tiny("llama"))
    monkeypatch.setattr(type(found.layers[0]), "forward", broken)
    with pytest.raises(NonFiniteError, match=r"not finite behind.*--dtype float32"):
        check_composition(found, IDS)


def test_a_single_wrong_sublayer_is_found(tiny: Tiny) -> None:
    """A norm that isn't the one in front of its sublayer makes the whole differ."""
    found = running(tiny("llama"))
    sublayers = found.sublayers
    swapped = replace(sublayers[3], norm=sublayers[2].norm)
    with pytest.raises(UnsupportedArchitecture):
        check_composition(replace(found, sublayers=(*sublayers[:3], swapped, *sublayers[4:])), IDS)
