"""Pictures of awkward numbers: a warning of matplotlib would be an error here."""

import numpy as np
import pytest

from globalprune.artifacts.analyses.loss_curves import Curves
from globalprune.artifacts.results.cut import CompensatedModule
from globalprune.artifacts.results.finetuning import LossPoint
from globalprune.report.analysis import curves_plot, trials_plot
from globalprune.report.blocks import Plot
from globalprune.report.drawing import Spread, spread_plot, widths_plot
from globalprune.report.result import compensation_plot, loss_plot

NONE = Spread(0.0, 0.0, 0.0)
LOG_TICK = "10^{"  # how matplotlib names what it draws as a power


def svg_of(pictures: tuple[Plot, ...]) -> str:
    """The only picture."""
    (picture,) = pictures
    return picture.svg


@pytest.mark.parametrize(
    ("spreads", "logarithmic"),
    [
        ({(0, "attention"): NONE, (0, "mlp"): Spread(0.0, 1e-7, 1e-5)}, True),
        ({(0, "attention"): Spread(-1.0, -0.5, 0.0), (0, "mlp"): NONE}, False),
        ({(0, "mlp"): Spread(1e-9, 1e-7, 1e-5)}, True),
    ],
    ids=["one sublayer is worth nothing", "nothing is above 0", "no attention was measured"],
)
def test_scores_that_no_log_axis_has(
    spreads: dict[tuple[int, str], Spread], *, logarithmic: bool
) -> None:
    """They leave gaps; without any score above 0 the axis is a plain one."""
    svg = svg_of(spread_plot(spreads))  # type: ignore[arg-type]

    assert (LOG_TICK in svg) is logarithmic


def curves_of(predicted: list[float], measured: list[float]) -> Curves:
    """One MLP, along its order; its attention has no group."""
    count = len(predicted)
    return Curves(
        layer_idx=np.zeros(count, np.int32),
        group_type=np.ones(count, np.int8),
        removed_groups=np.arange(1, count + 1, dtype=np.int32),
        group_idx=np.arange(count, dtype=np.int32),
        removed_params=np.arange(count, dtype=np.int64),
        predicted_nats=np.asarray(predicted),
        measured_nats=np.asarray(measured),
    )


@pytest.mark.parametrize(
    ("predicted", "logarithmic"),
    [([1e-6, 1e-2, 1.0], True), ([0.0, -0.1, 0.0], False), ([1], False)],
)
def test_curves_of_one_sublayer(predicted: list[float], *, logarithmic: bool) -> None:
    """A half of a single group is no line; losses of 0 or less have no place."""
    svg = svg_of(curves_plot(curves_of(predicted, [np.nan] * len(predicted))))

    assert (LOG_TICK in svg) is logarithmic


def test_trials_that_all_gained() -> None:
    """The field is empty, and no log axis."""
    assert LOG_TICK not in svg_of(trials_plot(curves_of([0.1, 0.2], [-0.1, np.nan])))


def test_a_repair_of_nothing_and_a_run_of_one_step() -> None:
    """Are drawn as what they are."""
    sublayer = CompensatedModule(
        layer_idx=0, group_type="mlp", tensor="w", kept_inputs=1, strength=None,
        error_before=0.0, error_after=0.0,
    )  # fmt: skip
    step = LossPoint(step=1, loss=2.0, learning_rate=1e-4)

    assert "MLP" in svg_of(compensation_plot([sublayer]))
    assert "MLP" in svg_of(compensation_plot([]))
    assert "step" in svg_of(loss_plot([step], mixed=False))


def test_widths_where_no_structure_is_known() -> None:
    """A bar for every layer, by its number in the original."""
    svg = svg_of(widths_plot({"attention": {0: 2, 3: 1}, "mlp": {0: 8, 3: 0}}))

    assert "attention" in svg
