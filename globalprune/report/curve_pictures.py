"""Pictures of curves.parquet: what is predicted to be lost as groups go, and what trials lost."""

from functools import partial
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from globalprune.artifacts.analyses.loss_curves import Curves
from globalprune.artifacts.structure import GROUP_TYPES, GroupType
from globalprune.report.content import Picture
from globalprune.report.drawing import COLOURS, NAMES, halves_apart, picture, positive

_POINTS: Final = 60  # of a line: more than that nobody sees
_PERCENT: Final = (0.0, 100.0)
_FIELD: Final = (4.4, 3.2)  # inches


def curves_picture(curves: Curves) -> tuple[Picture, ...]:
    """What is predicted to be lost as groups go."""
    caption = (
        "Predicted loss as groups go, behind a repair: a line for every layer, from the first "
        "group of the half to the last but one."
    )
    return picture(caption, partial(_draw_curves, curves=curves))


def trials_picture(curves: Curves) -> tuple[Picture, ...]:
    """What was predicted beside what was measured, where trial removals were made."""
    if not np.isfinite(curves.measured_nats).any():
        return ()
    caption = (
        "Trial removals: predicted and measured loss, a point for each. On the line both are the "
        "same; a loss of 0 or less has no place here."
    )
    return picture(caption, partial(_draw_trials, curves=curves), _FIELD)


def lines_of(curves: Curves) -> dict[tuple[int, GroupType], NDArray[np.intp]]:
    """The rows of every half, along its order."""
    found: dict[tuple[int, GroupType], NDArray[np.intp]] = {}
    key = curves.layer_idx.astype(np.int64) * len(GROUP_TYPES) + curves.group_type
    for number in np.unique(key).tolist():
        layer, kind = divmod(number, len(GROUP_TYPES))
        rows = np.flatnonzero(key == number)
        found[layer, GROUP_TYPES[kind]] = rows[np.argsort(curves.removed_groups[rows])]
    return found


def _draw_curves(figure: Any, curves: Curves) -> None:
    lines = lines_of(curves)
    along = "% of the half's groups removed"
    for kind, axes in halves_apart(figure, _PERCENT, along=along, share_y=True).items():
        for (_, of), rows in lines.items():
            if of != kind or len(rows) < 2:  # noqa: PLR2004 - one group alone is no line
                continue
            some = rows[np.unique(np.linspace(0, len(rows) - 2, _POINTS).astype(int))]
            part = 100 * curves.removed_groups[some] / len(rows)
            nats = positive(curves.predicted_nats[some])
            axes.plot(part, nats, color=COLOURS[kind], alpha=0.55, lw=0.9)
    if any(np.isfinite(line.get_ydata()).any() for axes in figure.axes for line in axes.lines):
        figure.axes[0].set_yscale("log")
    figure.axes[0].set_ylabel("nats a token")


def _draw_trials(figure: Any, curves: Curves) -> None:
    axes = figure.subplots()
    predicted, measured = curves.predicted_nats, curves.measured_nats
    shown = np.isfinite(measured) & (measured > 0) & (predicted > 0)
    for position, kind in enumerate(GROUP_TYPES):
        rows = shown & (curves.group_type == position)
        axes.plot(predicted[rows], measured[rows], "o", color=COLOURS[kind], markersize=3.5,
                  alpha=0.8, label=NAMES[kind])  # fmt: skip
    if shown.any():
        both = np.concatenate((predicted[shown], measured[shown]))
        axes.plot([both.min(), both.max()], [both.min(), both.max()], "--", color="0.5", lw=1)
        axes.set_xscale("log")
        axes.set_yscale("log")
    axes.set_xlabel("predicted, nats a token")
    axes.set_ylabel("measured, nats a token")
    axes.legend()
