"""Gate Fisher, on numbers small enough to be reckoned through by hand."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import measuring
import pytest
import torch
from linear_sites import linear_site, over
from tiny_models import random_ids, tiny_model
from torch.utils._python_dispatch import TorchDispatchMode
from uneven_models import save_uneven, uneven_cut

from globalprune.models.loading import load_model
from globalprune.statistics.interface import Batch, Site, SublayerKey
from globalprune.statistics.reducers.fisher import (
    GateFisher,
    WinsorisedGateFisher,
    winsorised_fisher,
)

Tiny = Callable[[str], Path]
SUBLAYER: SublayerKey = (0, "mlp")
INPUTS = torch.tensor([[[1.0, 2.0], [3.0, 1.0]], [[1.0, 2.0], [3.0, 1.0]]])
DELTA = torch.tensor([[[1.0, 0.5], [0.0, 1.0]], [[-1.0, -0.5], [0.0, -1.0]]])
BATCH = Batch(first_window=0, windows=2, predicted=4)


def site(groups: int = 2, dtype: torch.dtype = torch.float32) -> Site:
    """Two inputs that belong to two groups, or to one."""
    return linear_site([[0.0, 0.0]], groups=groups, side="columns", dtype=dtype)


def fisher(site: Site, *batches: tuple[torch.Tensor, torch.Tensor, Batch]) -> list[float]:
    """Gate Fisher over these batches of inputs and gradients at them."""
    reducer, predicted = GateFisher(), 0
    for inputs, delta, batch in batches:
        reducer.on_gradient(site, inputs, delta, batch)
        predicted += batch.windows * batch.predicted
    found: list[float] = (
        reducer.finish(over(predicted=predicted))["gate_fisher"].whole[SUBLAYER].tolist()
    )
    return found


def test_windows_that_pull_apart_do_not_cancel_but_tokens_do() -> None:
    """J of a mean loss is multiplied by its tokens, squared by window, divided by all tokens."""
    # J = 4 · (1·1 + 3·0) and 4 · (2·0.5 + 1·1), and the same with the other sign
    assert fisher(site(), (INPUTS, DELTA, BATCH)) == [32 / 16, 128 / 16]


def test_the_inputs_of_a_group_are_one_gate() -> None:
    """They are added before they are squared: their gate shuts them together."""
    assert fisher(site(groups=1), (INPUTS, DELTA, BATCH)) == [2 * (4 + 8) ** 2 / 16]


def test_windows_of_other_lengths_are_weighed_by_their_tokens() -> None:
    """Two windows of a mean loss over 4 and over 8 tokens: Σ J² / 2 · 12."""
    rows = [(INPUTS[row, None], DELTA[row, None], Batch(row, 1, 4 * (row + 1))) for row in (0, 1)]
    assert fisher(site(), *rows) == [(16 + 64) / 24, (64 + 256) / 24]


@pytest.mark.parametrize("make", [GateFisher, WinsorisedGateFisher])
def test_a_gradient_that_fits_float16_only_when_scaled_comes_out_whole(make: Any) -> None:
    """The scale comes off in float64, where 2^-80 is a number."""
    scaled = Batch(first_window=0, windows=2, predicted=4, scale=2.0**40)
    narrow, wide = make(), make()
    narrow.on_gradient(site(dtype=torch.float16), INPUTS.half(), DELTA.half(), scaled)
    wide.on_gradient(site(), INPUTS, DELTA, BATCH)
    [(name, found)] = narrow.finish(over(predicted=8)).items()
    expected = wide.finish(over(predicted=8))[name].whole[SUBLAYER]
    assert found.whole[SUBLAYER].tolist() == [2.0**-80 * value for value in expected]
    assert float(found.whole[SUBLAYER].min()) > 0


def test_squares_of_large_float16_activations_do_not_overflow() -> None:
    """300 · 300 is more than float16 holds."""
    large = torch.full((1, 1, 2), 300.0, dtype=torch.float16)
    one = Batch(first_window=0, windows=1, predicted=1)
    assert fisher(site(dtype=torch.float16), (large, large, one)) == [90_000.0**2 / 2] * 2


@pytest.mark.parametrize(
    ("windows", "at_cap"), [(1, 1), (2, 2), (5, 2), (40, 2), (41, 3), (128, 7)], ids=str
)
def test_no_window_holds_more_than_one_part_in_those_at_the_cap(windows: int, at_cap: int) -> None:
    """Of 128 windows the seven largest are made equal, whatever one of them may hold."""
    gates = torch.linspace(-1, -2, windows)[:, None].repeat(1, 2)
    gates[0, 1] = 1e6  # the second group's odd window
    found = winsorised_fisher(gates, torch.ones(windows, dtype=torch.long)) * 2 * windows
    for column, total in zip(gates.T, found, strict=True):
        ordered = column.double().abs().sort(descending=True).values
        expected = ordered[at_cap:].square().sum() + at_cap * ordered[at_cap - 1].square()
        torch.testing.assert_close(total, expected)


def test_a_long_window_is_not_clipped_for_being_long() -> None:
    """J grows with the root of a window's tokens where nothing is odd about it."""
    predicted = torch.tensor([1, 4, 9, 100])
    found = winsorised_fisher(predicted.sqrt()[:, None], predicted)
    torch.testing.assert_close(found, torch.tensor([0.5], dtype=torch.float64))


def test_uneven_and_empty_sublayers_have_their_own_gates(tmp_path: Path) -> None:
    """By way of the weights' gradients, which a model that was cut before has too."""
    save_uneven(tmp_path, tiny_model("llama"), uneven_cut("llama"))
    model = load_model(tmp_path).double()
    sites = measuring.sites_of(model, tmp_path)
    rows = list(random_ids(3, 6))
    found = measuring.measured(model, sites, rows, ["gate_fisher"], 2).sums["gate_fisher"]
    outputs = [site for site in sites if site.is_output]
    assert {site.sublayer for site in outputs} == found.keys()
    totals = dict.fromkeys(found, torch.zeros(()))
    for row in rows:
        logits = model(row[None]).logits[0, :-1]
        nll = torch.nn.functional.cross_entropy(logits, row[1:], reduction="sum")
        weights = [site.linear.weight for site in outputs]
        for site, gradient in zip(outputs, torch.autograd.grad(nll, weights), strict=True):
            columns = (site.linear.weight.detach() * gradient).sum(dim=0)
            gates = columns.reshape(site.groups, -1).sum(dim=1)
            totals[site.sublayer] = totals[site.sublayer] + gates.square() / (2 * 3 * 5)
    for sublayer, total in totals.items():
        torch.testing.assert_close(found[sublayer], total)


class Allocations(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes how many elements every new tensor has that is no view of one of the model's."""

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.sizes: set[int] = set()
        self._known = {p.untyped_storage().data_ptr() for p in model.parameters()}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run the operation and note what came out."""
        made = func(*args, **(kwargs or {}))
        for tensor in made if isinstance(made, tuple | list) else [made]:
            if torch.is_tensor(tensor) and tensor.untyped_storage().data_ptr() not in self._known:
                self.sizes.add(tensor.numel())
        return made


@pytest.mark.parametrize(
    ("need", "formed"),
    [("gate_fisher", False), ("gate_fisher_winsorised", False), ("first_order", True)],
)
def test_no_weight_sized_tensor_is_formed(tiny: Tiny, need: Any, *, formed: bool) -> None:
    """Only first order, which needs the weights' gradients, makes tensors of their sizes."""
    model = measuring.loaded(tiny("llama"))
    sites = measuring.sites_of(model, tiny("llama"))
    weights = {site.linear.weight.numel() for site in sites}
    with Allocations(model) as made:
        measuring.measured(model, sites, [*random_ids(4, 5)], [need], 2)
    assert max(made.sizes) > 2 * 4 * 260 - 1  # the logits were seen, so the rest was too
    assert bool(made.sizes & weights) == formed
