"""What an analysis says: what was measured on what, how sure it is, and where importance lies."""

from collections.abc import Iterator

from globalprune.artifacts.analyses.analysis import AnalysisRecord
from globalprune.artifacts.analyses.group_table import GroupTable
from globalprune.artifacts.analyses.loss_curves import Curves
from globalprune.artifacts.analyses.normalisers import scored_by
from globalprune.artifacts.formatting import size
from globalprune.artifacts.plans.plan_summary import layer_pictures
from globalprune.artifacts.structure import GROUP_TYPES
from globalprune.report.content import Block, Facts, Lines, Part, Table, commands, warnings
from globalprune.report.curve_pictures import curves_picture, lines_of, trials_picture
from globalprune.report.depth import Spread, spreads_of
from globalprune.report.depth_pictures import importance_picture, spread_picture
from globalprune.report.drawing import NAMES
from globalprune.report.wording import (
    duration,
    model_phrase,
    of_all,
    percent,
    provenance,
    text_phrase,
)


def analysis_part(
    record: AnalysisRecord, table: GroupTable | None, curves: Curves | None = None
) -> Part:
    """The whole of it; a result may hold the record alone."""
    doubt = tuple(filter(None, [record.doubt]))
    blocks: list[Block] = [*warnings(doubt), Facts(tuple(_facts(record)))]
    blocks += warnings(record.warnings)
    if record.reliability:
        blocks += _how_sure(record)
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
    blocks += [*commands(record.command), provenance(digests, record.versions)]
    return Part("analysis", "What was measured", tuple(blocks))


def _facts(record: AnalysisRecord) -> Iterator[tuple[str, str]]:
    """Yield what was measured, on what, how and at what price."""
    model = record.model
    yield "model", f"{model_phrase(model.source, model.revision)} ({model.model_type})"
    yield "parameters", f"{model.parameters:,}"
    yield "in groups that may go", of_all(model.prunable_parameters, model.parameters)
    first, end = record.layers
    count = len(record.structure.layers)
    yield "layers", f"all {count}" if end - first == count else f"{first}:{end} of {count}"
    yield "text", text_phrase(record.calibration)
    yield "importances", "\n".join(_methods(record))
    if record.labels == "sampled":
        yield "labels", f"drawn from the model itself, seed {record.label_seed}"
    if record.given is not None:
        behind = ", and compensated for" if record.given.compensated else ""
        yield "given", f"a plan that removes {percent(record.given.ratio)} was decided{behind}"
    yield "precision", f"{record.dtype}, batch size {record.batch_size}"
    memory = size(record.peak_memory_bytes)
    yield "took", f"{duration(record.seconds)}, {memory} of memory at most"


def _methods(record: AnalysisRecord) -> Iterator[str]:
    """Yield every importance, the one that the table is scored by marked."""
    for name in record.methods:
        mark = " (the table is scored by it)" if name == record.default_importance else ""
        counts = ", behind compensation" if name in record.compensated else ""
        yield f"{scored_by(name, record.normaliser_of(name))}{counts}{mark}"


def _how_sure(record: AnalysisRecord) -> Iterator[Block]:
    """Yield how far the two halves of the windows agree on every importance."""
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
    """Yield how importance and scores lie over the layers."""
    layers = layer_pictures(record.structure, table, None)
    spreads = spreads_of(table)
    yield from importance_picture(
        layers, along_orders=record.default_importance in record.compensated
    )
    yield from spread_picture(spreads)
    rows = tuple(
        (
            f"{layer.layer_idx} {NAMES[kind]}",
            f"{layer.halves[kind].groups:,}",
            percent(layer.halves[kind].importance),
            *_spread_cells(spreads.get((layer.layer_idx, kind))),
        )
        for layer in layers
        for kind in GROUP_TYPES
    )
    head = ("layer", "groups", "importance", "score, 10 %", "score, median", "score, 90 %")
    yield Table(head, rows, title="Importance and scores, half by half")


def _spread_cells(spread: Spread | None) -> tuple[str, str, str]:
    """The scores of a half; nothing where it was not measured."""
    if spread is None:
        return "", "", ""
    return f"{spread.low:.3g}", f"{spread.median:.3g}", f"{spread.high:.3g}"


def _along_orders(curves: Curves) -> Iterator[Block]:
    """Yield what is lost along the order of every half, predicted and measured."""
    yield from curves_picture(curves)
    yield from trials_picture(curves)
    rows = tuple(
        (
            f"{layer} {NAMES[kind]}",
            f"{curves.removed_groups[row]:,} of {len(half):,}",
            f"{curves.removed_params[row]:,}",
            f"{curves.predicted_nats[row]:.3g}",
            _measured(float(curves.measured_nats[row])),
        )
        for (layer, kind), half in lines_of(curves).items()
        for at, row in enumerate(half.tolist())
        if at == len(half) // 2 or curves.measured_nats[row] == curves.measured_nats[row]
    )
    head = ("layer", "groups gone", "parameters gone", "predicted, nats", "measured, nats")
    yield Table(head, rows, title="Losses along the orders: in the middle, and at every trial")


def _measured(nats: float) -> str:
    """A measured loss, NaN being none."""
    return "" if nats != nats else f"{nats:.3g}"  # noqa: PLR0124 - NaN alone differs from itself
