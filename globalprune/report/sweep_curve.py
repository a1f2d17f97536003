"""A sweep as a picture: perplexity over what was removed, a line for each way of choosing it.

Drawn by matplotlib, which the extra `report` brings; the picture is SVG.
"""

import io
from typing import Any, Final

from globalprune.artifacts.evaluations.sweep import Sweep, SweepPoint

SIZE: Final = (7.0, 4.5)  # inches
_LOGARITHMIC_FROM: Final = 4.0  # where the worst perplexity is so many times the dense one


def sweep_picture(sweep: Sweep) -> bytes:
    """The picture as SVG; equal sweeps give equal bytes."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    figure = Figure(figsize=SIZE, layout="constrained")
    draw_curve(figure, sweep)
    drawn = io.StringIO()
    with mpl.rc_context({"svg.hashsalt": "globalprune"}):
        figure.savefig(drawn, format="svg", metadata={"Date": None})
    return drawn.getvalue().encode()


def draw_curve(figure: Any, sweep: Sweep) -> None:
    """Draw it on an empty figure."""
    axes = figure.subplots()
    dense = sweep.dense.perplexity.value
    worst = max((point.result.perplexity.value or 0.0 for point in sweep.points), default=0.0)
    for name, points in sweep.lines.items():
        _draw_line(axes, name, points)
    if dense is not None:
        axes.axhline(dense, color="0.5", linestyle="--", linewidth=1, label="as it is")
        if worst > _LOGARITHMIC_FROM * dense:
            axes.set_yscale("log")
    axes.set_xlabel("parameters removed, % of all")
    axes.set_ylabel("perplexity")
    axes.set_title(sweep.text.source, fontsize="medium", parse_math=False)
    axes.grid(color="0.5", alpha=0.3)
    for label in axes.legend().get_texts():
        label.set_parse_math(False)  # a name with two $ is no formula


def _draw_line(axes: Any, name: str, points: tuple[SweepPoint, ...]) -> None:
    """One line with its standard errors; a perplexity that no float holds has no point."""
    shown = [point for point in points if point.result.perplexity.value is not None]
    axes.errorbar(
        [100 * point.removed for point in shown],
        [point.result.perplexity.value for point in shown],
        yerr=[point.result.perplexity.standard_error or 0.0 for point in shown],
        marker="o",
        markersize=4,
        capsize=2,
        label=name,
    )
