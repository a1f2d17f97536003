"""The pictures of a page, drawn by matplotlib: the style of all, and plots over a model's depth.

They are SVG that reads on any background. Ink has the colour of the page's text; attention and MLP
have the same colours everywhere. matplotlib comes with the extra `report`.
"""

import io
import re
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import astuple, dataclass
from functools import partial
from importlib.util import find_spec
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from globalprune.artifacts.analyses.group_table import GroupTable
from globalprune.artifacts.plans.plan_summary import LayerSummary
from globalprune.artifacts.structure import GroupType
from globalprune.printable import printable_lines
from globalprune.report.blocks import Plot

COLOURS: Final[dict[GroupType, str]] = {"attention": "#3f86d0", "mlp": "#dd7a2a"}
SUBLAYER_NAMES: Final[dict[GroupType, str]] = {"attention": "attention", "mlp": "MLP"}
WIDE: Final = (9.4, 2.7)  # inches
MISSING: Final = "pictures need matplotlib (pip install globalprune[report])"
_INK: Final = "#010203"  # stands for currentColor, which matplotlib doesn't know
_STYLE: Final[dict[str, Any]] = {
    "svg.hashsalt": "globalprune",
    "svg.fonttype": "none",  # text stays text: it can be searched, and the page has the font
    "text.parse_math": False,  # a dollar in a name is a dollar
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "grid.alpha": 0.2,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "text.color": _INK,
    "axes.edgecolor": _INK,
    "axes.labelcolor": _INK,
    "axes.titlecolor": _INK,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "grid.color": _INK,
}
_NAMELESS: Final = dict.fromkeys(("Date", "Creator", "Format", "Type"))
_ID: Final = re.compile(r' id="([^"]*)"')
_REFERENCE: Final = re.compile(r'(url\(#|href="#)([^)"]+)')
_QUANTILES: Final = (0.1, 0.5, 0.9)
_PALE = 0.22
_BAR = 0.8  # of the width of a layer


@dataclass(frozen=True)
class Spread:
    """The scores of one sublayer, importance / cost, at each of `_QUANTILES`."""

    low: float
    median: float
    high: float


def can_draw() -> bool:
    """Return whether matplotlib is installed."""
    return find_spec("matplotlib") is not None


def draw_plot(
    caption: str, draw: Callable[[Any], None], size: tuple[float, float] = WIDE
) -> tuple[Plot, ...]:
    """Draw on an empty figure of `size` inches; return nothing where matplotlib is missing.

    Equal drawings give equal text.
    """
    if not can_draw():
        return ()
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context(_STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph")  # the page's font draws it, not matplotlib's
        figure = Figure(figsize=size)
        figure.subplots_adjust(**_margins(size))  # a layout engine would draw everything twice
        draw(figure)
        drawn = io.StringIO()
        figure.savefig(drawn, format="svg", transparent=True, metadata=_NAMELESS)
    return (Plot(caption, _inline(drawn.getvalue())),)


def sublayer_axes(
    figure: Any, span: tuple[float, float], *, along: str = "layer", share_y: bool = False
) -> dict[GroupType, Any]:
    """Two axes side by side, one for attention and one for MLP, with the same x limits."""
    both = figure.subplots(1, len(SUBLAYER_NAMES), sharey=share_y)
    by_kind = dict(zip(SUBLAYER_NAMES, both, strict=True))
    for kind, axes in by_kind.items():
        axes.set_title(SUBLAYER_NAMES[kind])
        axes.set_xlabel(along)
        axes.set_xlim(*span)
        axes.xaxis.get_major_locator().set_params(integer=True)
    return by_kind


def layer_span(layers: Iterable[int]) -> tuple[float, float]:
    """Return the x limits from the first to the last layer, with room for their bars."""
    numbers = sorted(layers) or [0]
    return numbers[0] - 0.6, numbers[-1] + 0.6


def positive_or_nan(values: ArrayLike) -> NDArray[np.float64]:
    """Return the values that a log axis can show, and NaN, which is a gap, for the others."""
    numbers = np.asarray(values, np.float64)
    return np.where(numbers > 0, numbers, np.nan)


def with_unique_ids(svg: str, prefix: str) -> str:
    """Return the drawing with ids that no other drawing on its page has."""
    referenced = {name for _, name in _REFERENCE.findall(svg)}
    svg = _REFERENCE.sub(rf"\g<1>{prefix}-\g<2>", svg)
    return _ID.sub(
        lambda found: f' id="{prefix}-{found[1]}"' if found[1] in referenced else "", svg
    )


def score_spreads(table: GroupTable) -> dict[tuple[int, GroupType], Spread]:
    """Return the spread of the scores of every sublayer that was measured."""
    return {
        sublayer: Spread(*np.quantile(table.score[rows], _QUANTILES).tolist())
        for sublayer, rows in table.sublayers.items()
    }


def importance_plot(layers: Sequence[LayerSummary], *, along_orders: bool) -> tuple[Plot, ...]:
    """Return the importance over the depth, attention and MLP side by side.

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
    """Return the spread of the scores over the depth."""
    caption = (
        "Scores over depth (importance a parameter): the median group of every sublayer, and the "
        "band from the 10 % to the 90 % group. A score of 0 or less has no place on a log axis."
    )
    return draw_plot(caption, partial(_draw_spread, spreads=spreads))


def kept_plot(layers: Sequence[LayerSummary]) -> tuple[Plot, ...]:
    """Return the share of its groups that a plan keeps of every sublayer."""
    caption = "What stays of every layer, in groups; × is a layer that goes whole."
    return draw_plot(caption, partial(_draw_stays, layers=layers))


def widths_plot(widths: dict[GroupType, dict[int, int]]) -> tuple[Plot, ...]:
    """Return the groups of every layer, for a model whose original numbers are not known."""
    caption = "Groups of every layer that is left, by its number in the original."
    return draw_plot(caption, partial(_draw_widths, widths=widths))


def _margins(size: tuple[float, float]) -> dict[str, float]:
    """Return the margins that labels need around the axes, as fractions of the figure."""
    width, height = size
    left, right, bottom, top = 0.85, 0.1, 0.5, 0.3  # inches
    return {
        "left": left / width,
        "right": 1 - right / width,
        "bottom": bottom / height,
        "top": 1 - top / height,
    }


def _inline(svg: str) -> str:
    """Return the <svg> element alone, in the text colour of its page."""
    return printable_lines(svg[svg.index("<svg") :].replace(_INK, "currentColor").strip())


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
        low, median, high = positive_or_nan(list(found.values())).reshape(-1, len(_QUANTILES)).T
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
