"""Plots over the depth of a model: importance, spread, and what is kept."""

from collections.abc import Sequence
from dataclasses import astuple, dataclass
from functools import partial
from typing import Any, Final

import numpy as np

from globalprune.artifacts.analyses.group_table import GroupTable
from globalprune.artifacts.plans.plan_summary import LayerSummary
from globalprune.artifacts.structure import GroupType
from globalprune.report.blocks import Plot
from globalprune.report.drawing import (
    COLOURS,
    draw_plot,
    layer_span,
    positive_or_nan,
    sublayer_axes,
)

QUANTILES: Final = (0.1, 0.5, 0.9)
_PALE = 0.22
_BAR = 0.8  # of the width of a layer


@dataclass(frozen=True)
class Spread:
    """The scores of one sublayer, importance / cost, at each of `QUANTILES`."""

    low: float
    median: float
    high: float


def score_spreads(table: GroupTable) -> dict[tuple[int, GroupType], Spread]:
    """The spread of the scores of every sublayer that was measured."""
    return {
        sublayer: Spread(*np.quantile(table.score[rows], QUANTILES).tolist())
        for sublayer, rows in table.sublayers.items()
    }


def importance_plot(layers: Sequence[LayerSummary], *, along_orders: bool) -> tuple[Plot, ...]:
    """The importance over the depth, attention and MLP side by side.

    `along_orders` says that a group's importance is that behind the removal of those before it.
    """
    caption = (
        "Importance over depth: the part of the summed importance that lies in each sublayer. The "
        "two scales differ."
    )
    if along_orders:
        caption += (
            " The last group of a sublayer is worth what all before it hid, so a bar says what is "
            "lost with the whole sublayer, not how much of it can go: the scores below say that."
        )
    return draw_plot(caption, partial(_draw_importance, layers=layers))


def spread_plot(spreads: dict[tuple[int, GroupType], Spread]) -> tuple[Plot, ...]:
    """The spread of the scores over the depth."""
    caption = (
        "Scores over depth (importance a parameter): the median group of every sublayer, and the "
        "band from the 10 % to the 90 % group. A score of 0 or less has no place on a log axis."
    )
    return draw_plot(caption, partial(_draw_spread, spreads=spreads))


def kept_plot(layers: Sequence[LayerSummary]) -> tuple[Plot, ...]:
    """The share of its groups that a plan keeps of every sublayer."""
    caption = "What stays of every layer, in groups; × is a layer that goes whole."
    return draw_plot(caption, partial(_draw_stays, layers=layers))


def widths_plot(widths: dict[GroupType, dict[int, int]]) -> tuple[Plot, ...]:
    """The groups of every layer, for a model whose original numbers are not known."""
    caption = "Groups of every layer that is left, by its number in the original."
    return draw_plot(caption, partial(_draw_widths, widths=widths))


def _draw_importance(figure: Any, layers: Sequence[LayerSummary]) -> None:
    for kind, axes in sublayer_axes(figure, layer_span(range(len(layers)))).items():
        shares = {
            layer.layer_idx: 100 * worth
            for layer in layers
            if (worth := layer.sublayers[kind].importance) is not None
        }
        axes.bar(list(shares), list(shares.values()), _BAR, color=COLOURS[kind])
        axes.set_ylabel("% of all importance")


def _draw_spread(figure: Any, spreads: dict[tuple[int, GroupType], Spread]) -> None:
    span = layer_span(layer for layer, _ in spreads)
    lowest = min(
        (value for one in spreads.values() for value in astuple(one) if value > 0), default=0
    )
    for kind, axes in sublayer_axes(figure, span, share_y=True).items():
        found = {layer: astuple(spread) for (layer, of), spread in spreads.items() if of == kind}
        low, median, high = positive_or_nan(list(found.values())).reshape(-1, len(QUANTILES)).T
        low = np.where(np.isnan(low) & np.isfinite(high), lowest, low)  # down to the field's end
        colour = COLOURS[kind]
        axes.fill_between(list(found), low, high, color=colour, alpha=_PALE, linewidth=0)
        axes.plot(list(found), median, color=colour, marker="o", markersize=2.5)
    if lowest:
        figure.axes[0].set_yscale("log")
    figure.axes[0].set_ylabel("score")


def _draw_stays(figure: Any, layers: Sequence[LayerSummary]) -> None:
    numbers = [layer.layer_idx for layer in layers]
    dropped = [layer.layer_idx for layer in layers if layer.dropped]
    for kind, axes in sublayer_axes(figure, layer_span(numbers), share_y=True).items():
        sublayers = [layer.sublayers[kind] for layer in layers]
        kept = [
            100 * sublayer.kept / sublayer.groups if sublayer.groups else 0.0
            for sublayer in sublayers
        ]
        whole = [100.0 * bool(sublayer.groups) for sublayer in sublayers]
        axes.bar(numbers, whole, _BAR, color=COLOURS[kind], alpha=_PALE)
        axes.bar(numbers, kept, _BAR, color=COLOURS[kind])
        axes.plot(dropped, [3.0] * len(dropped), "x", color="0.5", markersize=5)
        axes.set_ylim(0, 105)
    figure.axes[0].set_ylabel("% of its groups")


def _draw_widths(figure: Any, widths: dict[GroupType, dict[int, int]]) -> None:
    span = layer_span(layer for found in widths.values() for layer in found)
    for kind, axes in sublayer_axes(figure, span).items():
        found = widths[kind]
        axes.bar(list(found), list(found.values()), _BAR, color=COLOURS[kind])
    figure.axes[0].set_ylabel("groups")
