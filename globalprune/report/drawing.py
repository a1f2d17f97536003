"""How matplotlib draws for a page: SVG that reads on any background.

Ink has the colour of the page's text; attention and MLP have the same colours everywhere.
matplotlib comes with the extra `report`.
"""

import io
import re
import warnings
from collections.abc import Callable, Iterable
from importlib.util import find_spec
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

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


def can_draw() -> bool:
    """Whether matplotlib is installed."""
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
    """The x limits from the first to the last layer, with room for their bars."""
    numbers = sorted(layers) or [0]
    return numbers[0] - 0.6, numbers[-1] + 0.6


def positive_or_nan(values: ArrayLike) -> NDArray[np.float64]:
    """The values that a log axis can show, and NaN, which is a gap, for the others."""
    numbers = np.asarray(values, np.float64)
    return np.where(numbers > 0, numbers, np.nan)


def with_unique_ids(svg: str, prefix: str) -> str:
    """The drawing with ids that no other drawing on its page has."""
    referenced = {name for _, name in _REFERENCE.findall(svg)}
    svg = _REFERENCE.sub(rf"\g<1>{prefix}-\g<2>", svg)
    return _ID.sub(
        lambda found: f' id="{prefix}-{found[1]}"' if found[1] in referenced else "", svg
    )


def _margins(size: tuple[float, float]) -> dict[str, float]:
    """The margins that labels need around the axes, as fractions of the figure."""
    width, height = size
    left, right, bottom, top = 0.85, 0.1, 0.5, 0.3  # inches
    return {
        "left": left / width,
        "right": 1 - right / width,
        "bottom": bottom / height,
        "top": 1 - top / height,
    }


def _inline(svg: str) -> str:
    """The <svg> element alone, in the text colour of its page."""
    return printable_lines(svg[svg.index("<svg") :].replace(_INK, "currentColor").strip())
