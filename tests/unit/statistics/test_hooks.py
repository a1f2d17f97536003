"""A pass leaves the model as it was, whether it ends well or not."""

import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import measuring
import pytest
import torch
from tiny_models import random_ids
from torch import nn

from globalprune.errors import NonFiniteError
from globalprune.statistics.hooks import HookManager, NonFiniteDetector
from globalprune.statistics.interface import Batch
from globalprune.statistics.reducers.fisher import GateFisher

Tiny = Callable[[str], Path]
ROWS = list(random_ids(3, 6))


def hooks_on(model: nn.Module) -> int:
    """How many hooks hang on any part of the model."""
    kinds = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    return sum(len(getattr(module, kind)) for module in model.modules() for kind in kinds)


def unusual(folder: Path) -> Any:
    """A model that is partly frozen and partly in training, as work in progress is."""
    model = measuring.loaded(folder)
    model.train()
    model.model.layers[1].eval()
    model.model.embed_tokens.weight.requires_grad_(requires_grad=False)
    return model


def state(model: nn.Module) -> list[object]:
    """Whatever of the model a pass might change."""
    return [
        *((name, module.training) for name, module in model.named_modules()),
        *((name, p.requires_grad, p.grad is None) for name, p in model.named_parameters()),
        hooks_on(model),
    ]


@pytest.mark.parametrize(
    "needs", [["first_order", "curvature", "gate_fisher", "input_rms"], ["input_rms"]]
)
def test_a_pass_leaves_no_trace(tiny: Tiny, needs: Any) -> None:
    """Hooks are gone, no weight has a gradient, and what trained or was frozen does so again."""
    model = unusual(tiny("llama"))
    before, weights = state(model), {k: v.clone() for k, v in model.state_dict().items()}
    measuring.measured(model, measuring.sites_of(model, tiny("llama")), ROWS, needs)
    assert state(model) == before
    assert all(torch.equal(value, weights[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize("needs", [["first_order"], ["gate_fisher"], ["input_rms"]])
def test_an_error_leaves_no_trace_either(tiny: Tiny, needs: Any) -> None:
    """The caller may mend the text and go on with the model that it has."""
    model = unusual(tiny("llama"))
    sites = measuring.sites_of(model, tiny("llama"))
    with torch.no_grad():
        model.model.embed_tokens.weight[int(ROWS[2][0])] = torch.nan
    before = state(model)
    with pytest.raises(NonFiniteError, match="not finite"):
        measuring.measured(model, sites, ROWS, needs)
    assert state(model) == before


def test_gradient_mode_is_as_before(tiny: Tiny) -> None:
    """A pass works inside no_grad, and a forward-only one turns nothing off for good."""
    model = measuring.loaded(tiny("llama"))
    sites = measuring.sites_of(model, tiny("llama"))
    with torch.no_grad():
        inside = measuring.importance(model, sites, ROWS, "taylor")
        assert not torch.is_grad_enabled()
    measuring.importance(model, sites, ROWS, "wanda")
    assert torch.is_grad_enabled()
    outside = measuring.importance(model, sites, ROWS, "taylor")
    assert measuring.largest_difference(inside, outside) == 0


def test_dropout_is_off_while_a_pass_runs(tiny: Tiny) -> None:
    """A model left in training mode is measured as it will be used."""
    model = measuring.loaded(tiny("llama"))
    sites = measuring.sites_of(model, tiny("llama"))
    expected = measuring.importance(model, sites, ROWS, "taylor")
    for layer in model.model.layers:
        layer.self_attn.attention_dropout = 0.5
    model.train()
    found = measuring.importance(model, sites, ROWS, "taylor")
    assert measuring.largest_difference(found, expected) == 0


def test_fisher_hooks_only_what_the_groups_feed(tiny: Tiny) -> None:
    """Nothing of q, k, v, gate and up is looked at, which is a third of the arithmetic saved."""
    model = measuring.loaded(tiny("llama"))
    sites = measuring.sites_of(model, tiny("llama"))
    hooks = HookManager([GateFisher()])
    with hooks.attached(sites):
        hooked = {name.rpartition(".")[2] for name, part in model.named_modules() if hooks_on(part)}
        alone = [site for site in sites if site.linear._forward_hooks]
    assert {"o_proj", "down_proj"} == {site.name.rpartition(".")[2] for site in alone}
    assert not hooked & {"q_proj", "k_proj", "v_proj", "gate_proj", "up_proj"}


def test_the_graph_of_fisher_begins_at_what_enters_the_first_output(tiny: Tiny) -> None:
    """Nothing is propagated through the attention of the first measured layer."""
    model = measuring.loaded(tiny("llama"))
    sites = measuring.sites_of(model, tiny("llama"), range(2, 4))
    graphs: dict[str, bool] = {}
    for name, part in model.model.layers[2].named_modules():
        part.register_forward_hook(
            lambda _module, _args, output, name=name: graphs.__setitem__(
                name, torch.is_tensor(output) and output.requires_grad
            )
        )
    measuring.measured(model, sites, ROWS[:1], ["gate_fisher"])
    begun = {name for name, begins in graphs.items() if begins}
    assert begun.isdisjoint({"input_layernorm", "self_attn.q_proj", "self_attn.v_proj"})
    assert {"self_attn.o_proj", "mlp.gate_proj", "mlp.down_proj", ""} <= begun


def test_nothing_is_propagated_to_layers_before_the_measured_ones(tiny: Tiny) -> None:
    """The graph begins at the first measured layer: --layers saves the backward pass of others."""
    model = measuring.loaded(tiny("llama"))
    sites = measuring.sites_of(model, tiny("llama"), range(2, 3))
    graphs: list[bool] = []
    for layer in model.model.layers:
        layer.register_forward_hook(
            lambda _module, _args, output: graphs.append(output.requires_grad)
        )
    measuring.measured(model, sites, ROWS[:1], ["first_order"])
    assert graphs[-4:] == [False, False, True, True]  # behind the runs that look at the head


BATCH = Batch(first_window=8, windows=3, predicted=3)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf], ids=str)
def test_the_first_bad_thing_and_its_window_are_named(value: float) -> None:
    """What came first is the cause; what came after is only its consequence."""
    detector = NonFiniteDetector()
    broken = torch.ones(3, 4, 2)
    broken[1, 2, 0] = value
    detector.observe("layer one: its input", torch.ones(3, 4, 2))
    detector.observe("layer two: its input", broken)
    detector.observe("layer three: its input", torch.full((3, 4, 2), math.nan))
    text = (
        "layer two: its input is not finite in window 9 of the text; "
        "try --dtype float32 (or bfloat16), and check the model's weights."
    )
    with pytest.raises(NonFiniteError, match=f"^{re.escape(text)}$"):
        detector.check(BATCH)


def test_infinities_of_both_signs_do_not_cancel() -> None:
    """Only sums are looked at."""
    detector = NonFiniteDetector()
    detector.observe("it", torch.tensor([[math.inf, -math.inf]]))
    with pytest.raises(NonFiniteError, match="it is not finite in window 8"):
        detector.check(BATCH)


def test_many_large_float16_numbers_are_finite() -> None:
    """Their sum is more than float16 holds, and that is no fault of theirs."""
    detector = NonFiniteDetector()
    detector.observe("it", torch.full((3, 100, 8), 60_000.0, dtype=torch.float16))
    detector.check(BATCH)


def test_a_check_begins_anew() -> None:
    """A later batch is not blamed for an earlier one, nor is memory kept for it."""
    detector = NonFiniteDetector()
    detector.observe("first", torch.full((3, 1), math.nan))
    with pytest.raises(NonFiniteError, match="first"):
        detector.check(BATCH)
    detector.observe("second", torch.ones(3, 1))
    detector.check(BATCH)
