"""The section of an analysis, with its loss curves and trials."""

from collections.abc import Iterator
from functools import partial
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from globalprune.artifacts.analyses.analysis import AnalysisRecord
from globalprune.artifacts.analyses.group_table import GroupTable
from globalprune.artifacts.analyses.loss_curves import Curves
from globalprune.artifacts.analyses.normalisers import scored_by
from globalprune.artifacts.formatting import describe_model, describe_text, format_bytes
from globalprune.artifacts.plans.plan_summary import layer_summaries
from globalprune.artifacts.structure import GROUP_TYPES, GroupType
from globalprune.report.blocks import (
    Block,
    Facts,
    Lines,
    Plot,
    Subsection,
    Table,
    command_block,
    format_duration,
    format_percent,
    format_share,
    provenance_block,
    warning_block,
)
from globalprune.report.drawing import (
    COLOURS,
    SUBLAYER_NAMES,
    Spread,
    draw_plot,
    importance_plot,
    positive_or_nan,
    score_spreads,
    spread_plot,
    sublayer_axes,
)

_POINTS: Final = 60  # of a line: more are not seen
_PERCENT: Final = (0.0, 100.0)
_FIELD: Final = (4.4, 3.2)  # inches


def analysis_subsection(
    record: AnalysisRecord, table: GroupTable | None, curves: Curves | None = None
) -> Subsection:
    """Return the subsection of an analysis; a result may hold the record alone."""
    doubt = tuple(filter(None, [record.doubt]))  # what the trial of the first plan found
    blocks: list[Block] = [*warning_block(doubt), Facts(tuple(_facts(record)))]
    blocks += warning_block(record.warnings)
    if record.reliability:
        blocks += _reliability(record)
    if table is not None:
        blocks += _over_depth(record, table)
    if curves is not None:
        blocks += _along_orders(curves)
    digests = {
        "weights": record.model.weights_fingerprint,
        "structure": record.model.structure_fingerprint,
        "windows of text": record.calibration.digest,
        "table": record.table,
    }
    blocks += [*command_block(record.command), provenance_block(digests, record.versions)]
    return Subsection("analysis", "What was measured", tuple(blocks))


def curves_plot(curves: Curves) -> tuple[Plot, ...]:
    """Return the predicted loss along every removal order."""
    caption = (
        "Predicted loss as groups go, after compensation: a line for every layer, from the first "
        "group of the sublayer to the last but one."
    )
    return draw_plot(caption, partial(_draw_curves, curves=curves))


def trials_plot(curves: Curves) -> tuple[Plot, ...]:
    """Return the predicted loss against the measured one, where trial removals were made."""
    if not np.isfinite(curves.measured_nats).any():
        return ()
    caption = (
        "Trial removals: predicted and measured loss, a point for each. On the line both are the "
        "same; a loss of 0 or less has no place here."
    )
    return draw_plot(caption, partial(_draw_trials, curves=curves), _FIELD)


def curve_rows(curves: Curves) -> dict[tuple[int, GroupType], NDArray[np.intp]]:
    """Return the rows of every sublayer, in the order of its removals."""
    by_sublayer: dict[tuple[int, GroupType], NDArray[np.intp]] = {}
    key = curves.layer_idx.astype(np.int64) * len(GROUP_TYPES) + curves.group_type
    for number in np.unique(key).tolist():
        layer, kind = divmod(number, len(GROUP_TYPES))
        rows = np.flatnonzero(key == number)
        by_sublayer[layer, GROUP_TYPES[kind]] = rows[np.argsort(curves.removed_groups[rows])]
    return by_sublayer


def _draw_curves(figure: Any, curves: Curves) -> None:
    lines = curve_rows(curves)
    along = "% of the sublayer's groups removed"
    for kind, axes in sublayer_axes(figure, _PERCENT, along=along, share_y=True).items():
        for (_, of), rows in lines.items():
            if of != kind or len(rows) < 2:  # noqa: PLR2004 - one group alone is no line
                continue
            some = rows[np.unique(np.linspace(0, len(rows) - 2, _POINTS).astype(int))]
            part = 100 * curves.removed_groups[some] / len(rows)
            nats = positive_or_nan(curves.predicted_nats[some])
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
                  alpha=0.8, label=SUBLAYER_NAMES[kind])  # fmt: skip
    if shown.any():
        both = np.concatenate((predicted[shown], measured[shown]))
        axes.plot([both.min(), both.max()], [both.min(), both.max()], "--", color="0.5", lw=1)
        axes.set_xscale("log")
        axes.set_yscale("log")
    axes.set_xlabel("predicted, nats a token")
    axes.set_ylabel("measured, nats a token")
    axes.legend()


def _facts(record: AnalysisRecord) -> Iterator[tuple[str, str]]:
    """Yield what was measured, on which text, how, and at what cost."""
    model = record.model
    yield "model", f"{describe_model(model.source, model.revision)} ({model.model_type})"
    yield "parameters", f"{model.parameters:,}"
    yield "in groups that may go", format_share(model.prunable_parameters, model.parameters)
    first, end = record.layers
    count = len(record.structure.layers)
    yield "layers", f"all {count}" if end - first == count else f"{first}:{end} of {count}"
    yield "text", describe_text(record.calibration)
    yield "importances", "\n".join(_methods(record))
    if record.labels == "sampled":
        yield "labels", f"drawn from the model itself, seed {record.label_seed}"
    if record.given is not None:
        behind = ", and compensated for" if record.given.compensated else ""
        yield (
            "given",
            f"a plan that removes {format_percent(record.given.ratio)} was decided{behind}",
        )
    yield "precision", f"{record.dtype}, batch size {record.batch_size}"
    memory = format_bytes(record.peak_memory_bytes)
    yield "took", f"{format_duration(record.seconds)}, {memory} of memory at most"


def _methods(record: AnalysisRecord) -> Iterator[str]:
    """Yield every importance; the one that the table is scored by is marked."""
    for name in record.methods:
        mark = " (the table is scored by it)" if name == record.default_importance else ""
        counts = ", behind compensation" if name in record.compensated else ""
        yield f"{scored_by(name, record.normaliser_of(name))}{counts}{mark}"


def _reliability(record: AnalysisRecord) -> Iterator[Block]:
    """Yield how well the two halves of the windows agree on every importance."""
    found = record.reliability
    ratios = sorted({cut.ratio for one in found.values() for cut in one.cuts})
    rows = []
    for name, one in found.items():
        shared = {cut.ratio: f"{100 * cut.shared:.0f} %" for cut in one.cuts}
        cells = (shared.get(ratio, "") for ratio in ratios)
        rows.append((name, f"{one.rank_correlation:.3f}", *cells))
    head = ("", "ranks correlate by", *(f"cuts of {100 * ratio:.0f} % share" for ratio in ratios))
    yield Table(head, tuple(rows))
    yield Lines(("how sure: what the two halves of the windows, each for itself, have in common",))


def _over_depth(record: AnalysisRecord, table: GroupTable) -> Iterator[Block]:
    """Yield importance and scores over the depth of the model."""
    layers = layer_summaries(record.structure, table, None)
    spreads = score_spreads(table)
    yield from importance_plot(layers, along_orders=record.default_importance in record.compensated)
    yield from spread_plot(spreads)
    rows = tuple(
        (
            f"{layer.layer_idx} {SUBLAYER_NAMES[kind]}",
            f"{layer.sublayers[kind].groups:,}",
            format_percent(layer.sublayers[kind].importance),
            *_spread_cells(spreads.get((layer.layer_idx, kind))),
        )
        for layer in layers
        for kind in GROUP_TYPES
    )
    head = ("layer", "groups", "importance", "score, 10 %", "score, median", "score, 90 %")
    yield Table(head, rows, title="Importance and scores, sublayer by sublayer")


def _spread_cells(spread: Spread | None) -> tuple[str, str, str]:
    """Return the scores of a sublayer; empty cells where it was not measured."""
    if spread is None:
        return "", "", ""
    return f"{spread.low:.3g}", f"{spread.median:.3g}", f"{spread.high:.3g}"


def _along_orders(curves: Curves) -> Iterator[Block]:
    """Yield the losses along the removal order of every sublayer, predicted and measured."""
    yield from curves_plot(curves)
    yield from trials_plot(curves)
    rows = tuple(
        (
            f"{layer} {SUBLAYER_NAMES[kind]}",
            f"{curves.removed_groups[row]:,} of {len(sublayer):,}",
            f"{curves.removed_params[row]:,}",
            f"{curves.predicted_nats[row]:.3g}",
            _measured_cell(float(curves.measured_nats[row])),
        )
        for (layer, kind), sublayer in curve_rows(curves).items()
        for at, row in enumerate(sublayer.tolist())
        if at == len(sublayer) // 2 or curves.measured_nats[row] == curves.measured_nats[row]
    )
    head = ("layer", "groups gone", "parameters gone", "predicted, nats", "measured, nats")
    yield Table(head, rows, title="Losses along the orders: in the middle, and at every trial")


def _measured_cell(nats: float) -> str:
    """Return a measured loss; empty where it is NaN, which means none."""
    return "" if nats != nats else f"{nats:.3g}"  # noqa: PLR0124 - NaN alone differs from itself
