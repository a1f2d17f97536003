"""Trials of removals, against cutting the model by hand and running all of it."""

from collections.abc import Callable
from pathlib import Path

import measuring
import pytest
import torch
from compensating import running
from tiny_models import FAMILIES, random_ids
from torch.nn import functional

from globalprune.errors import NonFiniteError
from globalprune.obs import trials as trials_of
from globalprune.obs.removal_order import RemovalOrder
from globalprune.obs.trials import (
    Trials,
    ValidationBatch,
    kl_divergence,
    removal_trials,
    trial_counts,
)
from globalprune.progress import silent
from globalprune.sublayers.residual_stream import SublayerModel
from globalprune.sublayers.sublayer import layer_calls, start_at_layer

Tiny = Callable[[str], Path]
ROWS = [random_ids(1, 16, seed)[0] for seed in range(6)]


def tried(here: SublayerModel, batch_size: int = 4, rows: list[torch.Tensor] = ROWS) -> Trials:
    """Try removals of every sublayer, in the order in which its groups lie."""
    orders = {}
    for sublayer in here.sublayers:
        assert sublayer.output is not None
        groups = sublayer.output.in_features // sublayer.width
        orders[sublayer.key] = RemovalOrder(torch.arange(groups), torch.ones(groups).double())
    windows = measuring.windows_of(rows)
    return removal_trials(
        here,
        windows,
        orders,
        batch_size=batch_size,
        progress=silent,
    )


@pytest.mark.parametrize("family", FAMILIES)
def test_a_call_can_begin_in_any_layer(tiny: Tiny, family: str) -> None:
    """With the stream that enters there, the model says what it says when all of it runs."""
    here = running(tiny(family))
    ids = torch.stack(ROWS[:2])
    with torch.no_grad():
        whole = here.module(ids, use_cache=False).logits
        calls = layer_calls(here.module, here.layers, ids)
        stream = calls.stream
        for number in range(len(here.layers)):
            with start_at_layer(here.layers, number, stream):
                found = here.module(torch.zeros_like(ids) + 1, use_cache=False).logits
            if number:  # what comes before the first layer is run in any case
                torch.testing.assert_close(found, whole, rtol=1e-4, atol=1e-5)
            for sublayer in here.sublayers[2 * number : 2 * number + 2]:
                stream = sublayer.advance(stream, calls)
    assert not any("forward" in vars(layer) for layer in here.layers)


def test_a_forward_of_a_layers_own_comes_back(tiny: Tiny) -> None:
    """Others put one there too, to move weights about."""
    here = running(tiny("llama"))
    own = here.layers[0].forward
    here.layers[0].forward = own
    with start_at_layer(here.layers, 1, torch.zeros(1)):
        assert here.layers[0].forward is not own
    assert vars(here.layers[0])["forward"] is own


def test_nothing_changed_nothing_diverges(tiny: Tiny) -> None:
    """And a changed weight diverges, by what running the whole model says."""
    here = running(tiny("llama"))
    ids = torch.stack(ROWS[:2])
    with torch.no_grad():
        said = functional.log_softmax(here.module(ids).logits, dim=-1)
        batch = ValidationBatch(ids, said, layer_calls(here.module, here.layers, ids).stream)
        assert kl_divergence(here, 0, [batch]) == pytest.approx(0, abs=1e-6)
        here.module.model.layers[1].mlp.down_proj.weight.mul_(0.5)
        changed = functional.log_softmax(here.module(ids).logits, dim=-1)
        expected = (said.exp() * (said - changed)).sum(-1).mean()
        found = kl_divergence(here, 0, [batch])
    assert found == pytest.approx(float(expected), rel=1e-3)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_sublayer_is_tried_and_is_itself_again(tiny: Tiny, family: str) -> None:
    """All families, and batches are no matter; removals cost something."""
    here = running(tiny(family))
    before = {name: value.clone() for name, value in here.module.state_dict().items()}
    found = tried(here)
    assert found.keys() == {sublayer.key for sublayer in here.sublayers}
    for sublayer in here.sublayers:
        assert sublayer.output is not None
        counts = trial_counts(torch.ones(sublayer.output.in_features // sublayer.width))
        assert list(found[sublayer.key]) == counts
        assert all(nats > 0 for nats in found[sublayer.key].values())
    for place, values in tried(here, batch_size=1).items():
        assert values == pytest.approx(found[place], rel=1e-3, abs=1e-7)
    after = here.module.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items())


def test_a_trial_is_a_compensated_cut(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a ridge so strong that nothing changes, it is the plain cut."""
    monkeypatch.setattr(trials_of, "_STRENGTH", 1e9)
    here = running(tiny("llama"))
    found = tried(here)[1, "mlp"]
    judging = ROWS[5][None]  # of so few windows one judges
    with torch.no_grad():
        said = functional.log_softmax(here.module(judging).logits, dim=-1)
        for count, nats in found.items():
            weight = here.module.model.layers[1].mlp.down_proj.weight
            own = weight.clone()
            weight[:, :count] = 0
            cut = functional.log_softmax(here.module(judging).logits, dim=-1)
            weight.copy_(own)
            expected = (said.exp() * (said - cut)).sum(-1).mean()
            assert nats == pytest.approx(float(expected), rel=1e-3)


def test_what_stays_is_solved_anew_on_the_windows_that_do_not_judge(tiny: Tiny) -> None:
    """Ridge regression written out, about the old weights, on five windows; judged by the sixth."""
    here = running(tiny("llama"))
    found = tried(here)[1, "mlp"]
    output = here.module.model.layers[1].mlp.down_proj
    seen: list[torch.Tensor] = []
    handle = output.register_forward_pre_hook(lambda _m, args: seen.append(args[0].detach()))
    with torch.no_grad():
        here.module(torch.stack(ROWS[:5]))
        handle.remove()
        inputs = seen[0].flatten(0, 1).double()
        own = output.weight.double().clone()
        said = functional.log_softmax(here.module(ROWS[5][None]).logits, dim=-1)
        for count, nats in found.items():
            kept = inputs[:, count:]
            ridge = (0.1 * kept.square().sum(dim=0).mean()).sqrt() * torch.eye(kept.shape[1])
            lost = inputs[:, :count] @ own[:, :count].T
            stacked = torch.cat([kept, ridge.double()])
            target = torch.cat([lost, torch.zeros(kept.shape[1], len(own)).double()])
            change = torch.linalg.lstsq(stacked, target).solution
            output.weight.zero_()
            output.weight[:, count:] = (own[:, count:] + change.T).float()
            cut = functional.log_softmax(here.module(ROWS[5][None]).logits, dim=-1)
            expected = (said.exp() * (said - cut)).sum(-1).mean()
            assert nats == pytest.approx(float(expected), rel=1e-2)


def test_how_many_groups_a_trial_takes() -> None:
    """Some of an MLP's channels; of few heads one at least, and none is tried twice."""
    assert trial_counts(torch.ones(1536)) == [384, 922]
    assert trial_counts(torch.ones(3)) == [1, 2]
    assert trial_counts(torch.ones(1)) == [1]


def test_what_a_plan_took_already_is_gone_in_every_trial() -> None:
    """Shares are of what stands; a sublayer of which nothing stands is not tried."""
    losses = torch.cat([torch.zeros(60), torch.ones(40)])
    assert trial_counts(losses) == [70, 84]
    assert trial_counts(torch.tensor([0.0, 0.0, 1.0])) == [3]
    assert trial_counts(torch.zeros(3)) == []


@pytest.mark.parametrize("nats", [float("nan"), float("inf")])
def test_a_trial_without_a_number_stops_there(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch, nats: float
) -> None:
    """The sublayer is named; at the end of the run nobody could tell which it was."""
    monkeypatch.setattr(trials_of, "kl_divergence", lambda *_: nats)
    with pytest.raises(NonFiniteError, match=r"a part of the attention of layer 0.*float32"):
        tried(running(tiny("llama")))


def test_rounding_makes_no_loss_negative(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    """A divergence of almost nothing may come out below zero, and would turn an order round."""
    monkeypatch.setattr(trials_of, "kl_divergence", lambda *_: -1e-8)
    assert {
        nats for found in tried(running(tiny("llama"))).values() for nats in found.values()
    } == {0.0}
