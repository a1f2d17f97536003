"""One pass of windows through a model: its loss, its layers, and where it stops."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import measuring
import pytest
import torch
from tiny_models import random_ids

from globalprune.errors import NonFiniteError
from globalprune.statistics.interface import PassStatistic

Tiny = Callable[[str], Path]
ROWS = random_ids(5, 6)
RAGGED = [*random_ids(3, 9, seed=1), *random_ids(2, 4, seed=2), *random_ids(1, 9, seed=3)]
STRANGE = 259  # an id that no ordinary row holds


def run(
    model: Any,
    folder: Path,
    rows: Any,
    *needs: PassStatistic,
    layers: range | None = None,
    batch_size: int = 4,
) -> Any:
    """Measure some layers, or all."""
    sites = measuring.sites_of(model, folder, layers)
    return measuring.measured(model, sites, rows, needs, batch_size)


@pytest.mark.parametrize("batch_size", [1, 2, 16])
@pytest.mark.parametrize("family", ["llama", "qwen3"])
def test_the_loss_is_that_of_transformers(tiny: Tiny, family: str, batch_size: int) -> None:
    """Nats a predicted token, longer windows counting more; the model computes the same."""
    model = measuring.loaded(tiny(family))
    with torch.no_grad():
        losses = [float(model(row[None], labels=row[None]).loss) * (len(row) - 1) for row in RAGGED]
    expected = sum(losses) / sum(len(row) - 1 for row in RAGGED)
    collected = run(model, tiny(family), RAGGED, "first_order", batch_size=batch_size)
    assert collected.loss == pytest.approx(expected, rel=1e-6)


def test_activations_need_no_head(tiny: Tiny) -> None:
    """A forward-only pass makes no logits and tells no loss."""
    model = measuring.loaded(tiny("llama"))
    calls: list[object] = []
    model.lm_head.register_forward_hook(lambda *_: calls.append(1))
    assert run(model, tiny("llama"), ROWS, "input_rms", "magnitude").loss is None
    assert not calls


@pytest.mark.parametrize("layers", [range(1), range(1, 3), range(3, 4)], ids=str)
def test_only_the_layers_asked_for_are_measured_and_as_in_a_whole_pass(
    tiny: Tiny, layers: range
) -> None:
    """What is measured of a layer doesn't depend on which others are."""
    model = measuring.loaded(tiny("llama"))
    needs: tuple[PassStatistic, ...] = ("first_order", "curvature", "input_rms", "magnitude")
    whole = run(model, tiny("llama"), ROWS, *needs)
    part = run(model, tiny("llama"), ROWS, *needs, layers=layers)
    for need in needs:
        found, expected = part.sums[need], whole.sums[need]
        assert found.keys() == {sublayer for sublayer in expected if sublayer[0] in layers}
        for sublayer, values in found.items():
            torch.testing.assert_close(values, expected[sublayer])


@pytest.mark.parametrize("batch_size", [1, 3, 5])
@pytest.mark.parametrize("need", ["first_order", "curvature", "gate_fisher", "input_rms"])
@pytest.mark.parametrize("first", [0, 2])
def test_an_activation_that_is_not_finite_stops_at_its_layer_and_window(
    tiny: Tiny, need: PassStatistic, first: int, batch_size: int
) -> None:
    """The first measured layer that meets it is named, whatever else runs in the batch."""
    model = measuring.loaded(tiny("llama"))
    with torch.no_grad():
        model.model.embed_tokens.weight[STRANGE] = torch.nan
    rows = ROWS.clone()
    rows[3, 5] = STRANGE
    only_outputs = need in {"gate_fisher", "input_rms"}
    projection = "self_attn.o_proj" if only_outputs else "self_attn.q_proj"
    with pytest.raises(
        NonFiniteError,
        match=rf"^model\.layers\.{first}\.{projection}: its input is not finite in window 3 of the "
        r"text; try --dtype float32 \(or bfloat16\), and check the model's weights\.$",
    ):
        run(model, tiny("llama"), rows, need, layers=range(first, 4), batch_size=batch_size)


@pytest.mark.parametrize("batch_size", [1, 2, 4])
@pytest.mark.parametrize(
    ("need", "place"), [("first_order", "output"), ("gate_fisher_winsorised", "input")]
)
def test_a_gradient_that_is_not_finite_stops_at_its_layer_and_window(
    tiny: Tiny, need: PassStatistic, place: str, batch_size: int
) -> None:
    """In float16 a finite forward pass can have a backward pass that overflows."""
    model = overflowing(tiny("llama"))
    rows = ROWS.clone()
    rows[2] = STRANGE
    with pytest.raises(
        NonFiniteError,
        match=rf"^model\.layers\.3\.mlp\.down_proj: the gradient at its {place} is not finite in "
        r"window 2 of the text; try --dtype float32",
    ):
        run(model, tiny("llama"), rows, need, batch_size=batch_size)


def test_a_loss_that_is_not_finite_stops_the_run(tiny: Tiny) -> None:
    """No measured layer saw it: it came up behind them."""
    model = measuring.loaded(tiny("llama"))
    with torch.no_grad():
        model.lm_head.weight[7] = torch.inf
    with pytest.raises(NonFiniteError, match=r"^the loss is not finite in window 0 of the text"):
        run(model, tiny("llama"), ROWS, "first_order")


def test_weights_are_not_looked_at_where_no_text_meets_them(tiny: Tiny) -> None:
    """A broken embedding of a token that the text doesn't hold harms nothing."""
    model = measuring.loaded(tiny("llama"))
    sites = measuring.sites_of(model, tiny("llama"))
    expected = measuring.importance(model, sites, list(ROWS), "taylor")
    with torch.no_grad():
        model.model.embed_tokens.weight[STRANGE] = torch.nan
    found = measuring.importance(model, sites, list(ROWS), "taylor")
    assert measuring.largest_difference(found, expected) == 0


def overflowing(folder: Path) -> Any:
    """A float16 model whose last norm blows up the gradient of windows made of one token alone."""
    model = measuring.loaded(folder, torch.float16)
    with torch.no_grad():
        for layer in model.model.layers:
            layer.self_attn.o_proj.weight.zero_()
            layer.mlp.down_proj.weight.zero_()
        model.model.embed_tokens.weight[STRANGE] *= 1e-3
        model.model.norm.weight.fill_(1000)
    return model
