"""Pictures of what was done to a model that was cut: its repair, and its finetuning."""

from collections.abc import Sequence
from functools import partial
from typing import Any, Final

import numpy as np

from globalprune.artifacts.results.compensation import ModuleRepair
from globalprune.artifacts.results.finetuning import LossPoint
from globalprune.report.content import Picture
from globalprune.report.drawing import COLOURS, halves_apart, picture, span_of

_MEAN_OVER: Final = 20  # parts of a run
_ROOM: Final = 1.08  # so that the highest mark is whole


def repairs_picture(modules: Sequence[ModuleRepair]) -> tuple[Picture, ...]:
    """The error of every half before and after compensation."""
    caption = "Error of every half on held-out windows: hollow before its repair, filled after."
    return picture(caption, partial(_draw_repairs, modules=modules))


def loss_picture(curve: Sequence[LossPoint], *, mixed: bool) -> tuple[Picture, ...]:
    """The loss while a model was finetuned."""
    what = "of text and teacher mixed" if mixed else "of the text"
    caption = f"Loss of the last finetuning, {what}: every step pale, a running mean strong."
    return picture(caption, partial(_draw_loss, curve=curve))


def _draw_repairs(figure: Any, modules: Sequence[ModuleRepair]) -> None:
    span = span_of(module.layer_idx for module in modules)
    for kind, axes in halves_apart(figure, span, share_y=True).items():
        own = [module for module in modules if module.group_type == kind]
        at = [module.layer_idx for module in own]
        before = [100 * module.error_before for module in own]
        after = [100 * module.error_after for module in own]
        axes.vlines(at, after, before, color=COLOURS[kind], alpha=0.5, lw=1)
        axes.plot(at, before, "o", color=COLOURS[kind], markersize=4, fillstyle="none")
        axes.plot(at, after, "o", color=COLOURS[kind], markersize=4)
    most = max((max(one.error_before, one.error_after) for one in modules), default=0.0)
    figure.axes[0].set_ylim(0, 100 * _ROOM * (most or 1.0))
    figure.axes[0].set_ylabel("% of the squares")


def _draw_loss(figure: Any, curve: Sequence[LossPoint]) -> None:
    axes = figure.subplots()
    steps = np.array([point.step for point in curve])
    losses = np.array([point.loss for point in curve])
    colour = COLOURS["attention"]
    width = max(1, len(losses) // _MEAN_OVER)
    smooth = np.convolve(losses, np.full(width, 1 / width), "valid")
    axes.plot(steps, losses, color=colour, alpha=0.35, lw=0.8)
    axes.plot(steps[width - 1 :], smooth, color=colour, lw=1.6)
    axes.set_xlabel("step")
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.set_ylabel("nats a learned token")
