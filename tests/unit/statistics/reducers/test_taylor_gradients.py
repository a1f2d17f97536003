"""First order and curvature, on a layer small enough to be reckoned through by hand."""

import itertools
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from linear_sites import linear_site, over

from globalprune.statistics.interface import Batch, Counts, Site, Split, SublayerKey
from globalprune.statistics.reducers.taylor import Curvature, FirstOrder

Reckon = Callable[..., list[float]]
SUBLAYER: SublayerKey = (0, "mlp")
# Two windows of two tokens that pull the weights in opposite directions.
INPUTS = torch.tensor([[[1.0, 2.0], [0.0, 0.0]], [[1.0, 2.0], [0.0, 0.0]]])
OPPOSED = torch.tensor([[[1.0, 3.0], [0.0, 0.0]], [[-1.0, -3.0], [0.0, 0.0]]])
BATCH = Batch(first_window=0, windows=2, predicted=7)


def site() -> Site:
    """Two rows, one group each, with biases."""
    return linear_site([[1.0, 2.0], [3.0, 4.0]], bias=[5.0, 6.0])


def first_order(site: Site, *batches: tuple[torch.Tensor, torch.Tensor, Batch]) -> list[float]:
    """First order over these batches of inputs and gradients."""
    reducer = FirstOrder()
    for inputs, delta, batch in batches:
        reducer.on_gradient(site, inputs, delta, batch)
    found: list[float] = reducer.finish(over(windows=2))["first_order"].whole[SUBLAYER].tolist()
    return found


def curvature(site: Site, *batches: tuple[torch.Tensor, torch.Tensor, Batch]) -> list[float]:
    """Curvature over these batches of inputs and gradients."""
    reducer = Curvature()
    for inputs, delta, batch in batches:
        reducer.on_gradient(site, inputs, delta, batch)
    found: list[float] = reducer.finish(over(windows=2))["curvature"].whole[SUBLAYER].tolist()
    return found


def test_windows_that_cancel_have_no_first_order_but_curvature() -> None:
    """The second order squares each window's own gradient, not what a batch has added up."""
    # row 0: g = (1, 2), bias 1; row 1: g = (3, 6), bias 3; ½ · 7 · Σ (θ·g)², equal in both windows
    expected = [3.5 * (1 + 16 + 25), 3.5 * (81 + 576 + 324)]
    assert first_order(site(), (INPUTS, OPPOSED, BATCH)) == [0.0, 0.0]
    assert curvature(site(), (INPUTS, OPPOSED, BATCH)) == expected


def test_in_which_order_gradients_came_changes_no_bit() -> None:
    """A resumed run has them in another order, and 1 + ε + ε is not ε + ε + 1."""
    tiny = 2.0**-53
    sites = [
        replace(linear_site([[value]], groups=1), name=f"layer.{number}")
        for number, value in enumerate((1.0, tiny, tiny))
    ]
    ones = torch.ones(1, 1, 1)
    batch = Batch(first_window=0, windows=1, predicted=1)
    found = set()
    for order in itertools.permutations(sites):
        reducer = FirstOrder()
        for one in order:
            reducer.on_gradient(one, ones, ones, batch)
        found.add(float(reducer.finish(over(windows=1))["first_order"].whole[SUBLAYER]))
    assert len(found) == 1


def test_curvature_is_the_same_window_by_window() -> None:
    """A batch of two is two batches of one."""
    single = Batch(first_window=0, windows=1, predicted=7)
    apart = [(INPUTS[row, None], OPPOSED[row, None], single) for row in range(2)]
    assert curvature(site(), *apart) == curvature(site(), (INPUTS, OPPOSED, BATCH))


def test_a_windows_square_weighs_as_many_tokens_as_it_predicts() -> None:
    """Its gradient is a mean over them, so its square understates the curvature by their number."""
    longer = Batch(first_window=0, windows=2, predicted=70)
    short = curvature(site(), (INPUTS, OPPOSED, BATCH))
    assert curvature(site(), (INPUTS, OPPOSED, longer)) == pytest.approx([10 * v for v in short])


@pytest.mark.parametrize("reckon", [first_order, curvature], ids=["first_order", "curvature"])
def test_a_bias_counts_with_its_row(reckon: Reckon) -> None:
    """Where all weights are zero, the biases of q, k and v are all that a group has."""
    delta = torch.tensor([[[1.0, 3.0], [1.0, 0.0]]]).expand(2, 2, 2)
    only_biases = linear_site([[0.0, 0.0], [0.0, 0.0]], bias=[5.0, 6.0])
    expected = {first_order: [5 * 2, 6 * 3], curvature: [3.5 * 100, 3.5 * 324]}
    assert reckon(only_biases, (INPUTS, delta, BATCH)) == expected[reckon]


def test_the_bias_of_an_output_projection_belongs_to_no_group() -> None:
    """Its columns are the groups'; the bias survives every cut."""
    columns = linear_site([[1.0, 2.0], [3.0, 4.0]], bias=[5.0, 6.0], side="columns")
    delta = torch.ones(2, 2, 2)
    inputs = torch.zeros(2, 2, 2)  # no weight gradient, but one of the bias
    assert first_order(columns, (inputs, delta, BATCH)) == [0.0, 0.0]
    assert curvature(columns, (inputs, delta, BATCH)) == [0.0, 0.0]


def test_signs_cancel_between_windows_and_never_between_parameters() -> None:
    """|θ·ḡ| is taken of each parameter: a large pull and push inside a group is importance."""
    delta = torch.tensor([[[1.0, 0.0], [0.0, 0.0]]]).expand(2, 2, 2)
    pulled = linear_site([[2.0, -1.0], [0.0, 0.0]])  # θ·ḡ = +2 and -2
    assert first_order(pulled, (INPUTS, delta, BATCH)) == [4.0, 0.0]


@pytest.mark.parametrize("reckon", [first_order, curvature], ids=["first_order", "curvature"])
def test_a_gradient_that_fits_float16_only_when_scaled_comes_out_whole(reckon: Reckon) -> None:
    """The scale comes off in float32, where 2^-40 is a number and its square too."""
    scaled = Batch(first_window=0, windows=2, predicted=7, scale=2.0**40)
    delta = torch.ones(2, 2, 2, dtype=torch.float16)
    sublayer = linear_site([[1.0, 2.0], [3.0, 4.0]], dtype=torch.float16)
    found = reckon(sublayer, (INPUTS.half(), delta, scaled))
    plain = reckon(sublayer, (INPUTS, delta.float(), BATCH))
    factor = 2.0**-40 if reckon is first_order else 2.0**-80
    assert found == [value * factor for value in plain]
    assert min(found) > 0


def test_what_was_remembered_halfway_changes_no_importance() -> None:
    """To the last bit: the sublayers are made of copies."""
    halved, plain = FirstOrder(), FirstOrder()
    generator = torch.Generator().manual_seed(0)
    own = site()
    for window in range(4):
        inputs, delta = torch.randn(2, 1, 5, 2, generator=generator)
        for reducer in (halved, plain):
            reducer.on_gradient(own, inputs, delta, Batch(window, 1, 7))
        if window == 1:
            halved.end_first_half()
    text = Split(Counts(4, 0, 0), (Counts(2, 0, 0), Counts(2, 0, 0)))
    found = halved.finish(text)["first_order"]
    assert torch.equal(
        found.whole[SUBLAYER], plain.finish(over(windows=4))["first_order"].whole[SUBLAYER]
    )
    assert found.halves is not None
    assert float((found.halves[0][SUBLAYER] - found.halves[1][SUBLAYER]).abs().min()) > 0


def test_gradients_taken_along_are_those_taken_alone() -> None:
    """First order falls out of curvature's products, which are squared in place only afterwards."""
    delta = torch.tensor([[[1.0, 3.0], [2.0, 0.5]], [[0.5, 1.0], [1.0, -1.0]]])
    inputs = INPUTS + 1
    both = Curvature(FirstOrder())
    both.on_gradient(site(), inputs, delta, BATCH)
    one = site()
    together = Curvature(FirstOrder())
    for row in range(2):
        together.on_gradient(one, inputs[row, None], delta[row, None], Batch(row, 1, 7))
    found = {name: split.whole for name, split in together.finish(over(windows=2)).items()}
    assert found["first_order"][SUBLAYER].tolist() == first_order(site(), (inputs, delta, BATCH))
    assert found["curvature"][SUBLAYER].tolist() == curvature(site(), (inputs, delta, BATCH))
