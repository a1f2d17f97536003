"""The walk that orders groups for removal, and the curvature that it starts from."""

from collections.abc import Callable
from pathlib import Path

import measuring
import pytest
import torch
from compensating import running
from tiny_models import FAMILIES, random_ids

from globalprune.obs.removal_order import (
    RemovalOrders,
    one_shot_losses,
    order_sublayers,
    removal_order,
)
from globalprune.progress import silent
from globalprune.statistics.interface import Split

Tiny = Callable[[str], Path]
ROWS = [random_ids(1, 16, seed)[0] for seed in range(6)]


def removal(folder: Path, batch_size: int = 4, rows: list[torch.Tensor] = ROWS) -> RemovalOrders:
    """Collect the curvature in one pass, and walk."""
    here = running(folder)
    sites = measuring.sites_of(here.module, folder)
    found = measuring.measured(here.module, sites, rows, ["output_curvature"], batch_size)
    parts = found.halves and tuple(half["output_curvature"] for half in found.halves)
    curvature = Split(found.sums["output_curvature"], parts)  # type: ignore[arg-type]
    return order_sublayers(
        here,
        measuring.windows_of(rows),
        curvature,
        batch_size=batch_size,
        progress=silent,
    )


def test_the_curvature_is_that_of_autograd(tiny: Tiny) -> None:
    """Squared gradients of each window's summed loss, a mean over predicted tokens."""
    model = measuring.loaded(tiny("llama"))
    sites = measuring.sites_of(model, tiny("llama"))
    found = measuring.measured(model, sites, ROWS, ["output_curvature"], 4).sums
    output = model.model.layers[1].mlp.down_proj
    total = torch.zeros(model.config.hidden_size, dtype=torch.float64)
    for row in ROWS:
        kept: list[torch.Tensor] = []
        handle = output.register_forward_hook(lambda _m, _a, made, kept=kept: kept.append(made))
        loss = model(row[None], labels=row[None]).loss * (len(row) - 1)
        handle.remove()
        (gradient,) = torch.autograd.grad(loss, kept)
        total += gradient.double().square().sum(dim=(0, 1))
    predicted = sum(len(row) - 1 for row in ROWS)
    expected = total / predicted
    torch.testing.assert_close(found["output_curvature"][1, "mlp"], expected, rtol=1e-4, atol=0)


@pytest.mark.parametrize("family", FAMILIES)
def test_losses_rank_each_sublayer_in_its_order(tiny: Tiny, family: str) -> None:
    """So a cut by lowest score always takes the beginning of an order."""
    found = removal(tiny(family))
    for sublayer, order in found.orders.items():
        assert found.losses[sublayer].argsort().tolist() == order.groups.tolist()
        assert sorted(order.groups.tolist()) == list(range(len(order.groups)))


def test_an_order_is_that_of_the_moments_of_what_enters(tiny: Tiny) -> None:
    """A is a mean of a·aᵀ over all tokens of all windows, ragged or not."""
    folder = tiny("qwen3")
    rows = [row[: 9 + number] for number, row in enumerate(ROWS)]
    found = removal(folder, rows=rows)
    here = running(folder)
    output = here.module.model.layers[0].mlp.down_proj
    seen: list[torch.Tensor] = []
    output.register_forward_pre_hook(lambda _m, args: seen.append(args[0].detach()[0]))
    for row in rows:
        here.module(row[None])
    inputs = torch.cat(seen).double()
    sites = measuring.sites_of(here.module, folder)
    curvature = measuring.measured(here.module, sites, rows, ["output_curvature"]).sums
    own = curvature["output_curvature"][0, "mlp"]
    expected = removal_order(inputs.T @ inputs / len(inputs), own, output.weight.T.detach(), 1)
    assert found.orders[0, "mlp"].groups.tolist() == expected.groups.tolist()


def test_a_massive_channel_goes_last(tiny: Tiny) -> None:
    """A channel far larger than its sublayer is kept as long as any other is there."""
    here = running(tiny("llama"))
    with torch.no_grad():
        here.module.model.layers[0].mlp.up_proj.weight[5] *= 1e4
        here.module.model.layers[0].mlp.down_proj.weight[:, 5] = 0  # and yet it does nothing
    curvature = {(0, "mlp"): torch.ones(here.module.config.hidden_size)}
    found = order_sublayers(
        here, measuring.windows_of(ROWS),
        Split(curvature),  # type: ignore[arg-type]
        batch_size=4, progress=silent,
    )  # fmt: skip
    assert found.orders[0, "mlp"].groups[-1] == 5
    assert list(found.orders) == [(0, "mlp")]


def test_a_single_window_has_no_halves(tiny: Tiny) -> None:
    """There is nothing to compare then."""
    assert removal(tiny("llama"), rows=ROWS[:1]).halves is None


def test_each_half_of_the_windows_costs_by_itself(tiny: Tiny) -> None:
    """What a group costs as the first to go, from the first windows alone and from the others.

    A batch crosses the middle, and windows are of several lengths.
    """
    rows = [random_ids(1, 10 + 3 * seed, seed)[0] for seed in range(6)]
    found = removal(tiny("llama"), rows=rows, batch_size=4).halves
    assert found is not None
    here = running(tiny("llama"))
    output = here.module.model.layers[1].mlp.down_proj
    sites = measuring.sites_of(here.module, tiny("llama"))
    for sublayer, own in zip(found, (rows[:3], rows[3:]), strict=True):
        entered: list[torch.Tensor] = []
        handle = output.register_forward_pre_hook(lambda _m, args, to=entered: to.append(args[0]))
        with torch.no_grad():
            for row in own:
                here.module(row[None])
        handle.remove()
        inputs = torch.cat([one.flatten(0, 1) for one in entered]).double()
        curvature = measuring.measured(here.module, sites, own, ["output_curvature"], 4).sums
        expected = one_shot_losses(
            inputs.T @ inputs / len(inputs),
            curvature["output_curvature"][1, "mlp"],
            output.weight.detach().T,
            1,
        )
        torch.testing.assert_close(sublayer[1, "mlp"], expected, rtol=1e-3, atol=0)
