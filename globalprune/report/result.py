"""The section of a cut model: cut, compensation, finetuning."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np

from globalprune.artifacts.analyses.analysis import ANALYSIS_FILE
from globalprune.artifacts.evaluations.evaluation import Comparison
from globalprune.artifacts.evaluations.evaluation_table import EVALUATION_FILE, read_evaluation
from globalprune.artifacts.formatting import (
    GROUP_NAMES,
    describe_model,
    describe_text,
    format_bytes,
)
from globalprune.artifacts.plans.plan_file import PLAN_FILE
from globalprune.artifacts.results.cut import (
    COMPENSATION_FILE,
    METRICS_FILE,
    ApplyMetrics,
    CompensatedModule,
    CompensationRecord,
    read_compensation,
    read_metrics,
)
from globalprune.artifacts.results.finetuning import (
    FINETUNE_FILE,
    LOSS_FILE,
    FinetuneRecord,
    FinetuneRun,
    LossPoint,
    read_finetune_record,
    read_loss_curve,
)
from globalprune.artifacts.structure import GROUP_TYPES, GroupType
from globalprune.report.analysis import analysis_subsection
from globalprune.report.blocks import (
    Block,
    Commands,
    Facts,
    OverviewRow,
    Plot,
    Section,
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
    draw_plot,
    layer_span,
    sublayer_axes,
    widths_plot,
)
from globalprune.report.evaluation import evaluation_subsection, perplexity_columns
from globalprune.report.inputs import read_analysis_input, read_result_plan
from globalprune.report.plan import plan_subsection

_MEAN_PARTS: Final = 20  # of a run: each gives a point of the running mean
_HEADROOM: Final = 1.08  # so that the highest mark is whole


def result_section(own: Path, name: str) -> Section:
    """Read every record in a result's own folder, the most important first."""
    has = {path.name for path in own.iterdir()}
    cut = read_metrics(own / METRICS_FILE) if METRICS_FILE in has else None
    finetuning = read_finetune_record(own / FINETUNE_FILE) if FINETUNE_FILE in has else None
    evaluation = read_evaluation(own / EVALUATION_FILE) if EVALUATION_FILE in has else None
    measured = read_analysis_input(own, record_suffices=True) if ANALYSIS_FILE in has else None
    subsections: list[Subsection] = []
    if cut is not None:
        drawn = measured is not None and PLAN_FILE in has
        subsections.append(cut_subsection(cut, drawn_elsewhere=drawn))
    if evaluation is not None:
        subsections.append(evaluation_subsection(evaluation))
    if COMPENSATION_FILE in has:
        subsections.append(compensation_subsection(read_compensation(own / COMPENSATION_FILE)))
    if finetuning is not None:
        curve = read_loss_curve(own / LOSS_FILE) if LOSS_FILE in has else ()
        subsections.append(finetune_subsection(finetuning, curve))
    if PLAN_FILE in has:
        subsections.append(plan_subsection(read_result_plan(own / PLAN_FILE, measured))[0])
    if measured is not None:
        subsections.append(analysis_subsection(measured.record, measured.table, measured.curves))
    return Section(
        name, _each_command_once(subsections), (_overview_row(cut, finetuning, evaluation),)
    )


def cut_subsection(cut: ApplyMetrics, *, drawn_elsewhere: bool) -> Subsection:
    """The subsection of a cut; with `drawn_elsewhere` the plan's subsection draws what stays."""
    pictures = () if drawn_elsewhere else widths_plot(_widths(cut))
    blocks: list[Block] = [Facts(tuple(_cut_facts(cut))), *warning_block(cut.warnings), *pictures]
    blocks += [_cut_table(cut), *command_block(cut.command)]
    digests = {
        "weights of the base": cut.model.weights,
        "structure of the base": cut.model.structure,
        "plan": cut.plan,
        "weights after the cut": cut.weights,
    }
    blocks.append(provenance_block(digests, cut.versions))
    return Subsection("result", "What was cut", tuple(blocks))


def compensation_subsection(record: CompensationRecord) -> Subsection:
    """Return the subsection of a compensation."""
    pictures = compensation_plot(record.modules)
    blocks: tuple[Block, ...] = (
        Facts(tuple(_compensation_facts(record))),
        *pictures,
        _compensation_table(record),
    )
    return Subsection("compensation", "How the rest was compensated", blocks)


def finetune_subsection(record: FinetuneRecord, curve: Sequence[LossPoint]) -> Subsection:
    """Return the subsection of all finetuning runs; `curve` is that of the last run."""
    blocks: list[Block] = []
    for number, run in enumerate(record.runs, start=1):
        if len(record.runs) > 1:
            blocks.append(Facts((("run", f"{number} of {len(record.runs)}"),)))
        blocks += _run(run)
        if run is record.runs[-1] and curve:
            blocks += loss_plot(curve, mixed=run.teacher is not None)
        blocks += [*command_block(run.command), _provenance(run)]
    return Subsection("recovery", "How it was finetuned", tuple(blocks))


def compensation_plot(modules: Sequence[CompensatedModule]) -> tuple[Plot, ...]:
    """Return the error of every sublayer before and after compensation."""
    caption = (
        "Error of every sublayer on held-out windows: hollow before compensation, filled after."
    )
    return draw_plot(caption, partial(_draw_compensation, modules=modules))


def loss_plot(curve: Sequence[LossPoint], *, mixed: bool) -> tuple[Plot, ...]:
    """Return the loss along a finetuning."""
    what = "of text and teacher mixed" if mixed else "of the text"
    caption = f"Loss of the last finetuning, {what}: every step pale, a running mean strong."
    return draw_plot(caption, partial(_draw_loss, curve=curve))


def _cut_facts(cut: ApplyMetrics) -> Iterator[tuple[str, str]]:
    """Yield the sizes before and after the cut, and what was compensated."""
    yield "cut out of", describe_model(cut.model.source, cut.model.revision)
    if cut.model.quantisation is not None:
        yield "its file", f"a {cut.model.quantisation} quantisation, dequantised"
    if cut.first is not None:
        first = cut.original_model
        yield "the first model", describe_model(first.source, first.revision)
        yield "left of the first model", format_share(cut.parameters_after, first.parameters)
    yield "parameters before", f"{cut.parameters_before:,}"
    yield "parameters after", format_share(cut.parameters_after, cut.parameters_before)
    yield "ratio", f"{100 * cut.ratio:.2f} % of all parameters, in groups"
    yield "weights after the cut", format_bytes(cut.weight_bytes)
    for kind in GROUP_TYPES:
        yield f"{GROUP_NAMES[kind]} removed", f"{cut.removed_groups.get(kind, 0):,}"
    if cut.dropped_layers:
        yield "layers removed whole", ", ".join(map(str, cut.dropped_layers))
    if cut.repaired_modules is not None:
        yield "sublayers compensated", f"{cut.repaired_modules:,}"
    if cut.final_norm_refitted is not None:
        yield "final norm", "compensated" if cut.final_norm_refitted else "unchanged"
    yield "form", f"uneven: {cut.reason}" if cut.uneven and cut.reason else _form(cut)
    yield "took", format_duration(cut.seconds)


def _form(cut: ApplyMetrics) -> str:
    """Return whether the layers of the result have the same widths."""
    return "layers that differ" if cut.uneven else "layers that are all alike"


def _widths(cut: ApplyMetrics) -> dict[GroupType, dict[int, int]]:
    """Return the groups of every layer, by its number in the original."""
    return {
        "attention": {one.origin_layer_idx: one.attention_groups for one in cut.layers},
        "mlp": {one.origin_layer_idx: one.mlp_channels for one in cut.layers},
    }


def _cut_table(cut: ApplyMetrics) -> Table:
    """Return the widths of every layer of the result."""
    rows = tuple(
        (
            str(one.layer_idx),
            str(one.origin_layer_idx),
            f"{one.attention_groups:,}",
            f"{one.mlp_channels:,}",
        )
        for one in cut.layers
    )
    head = ("layer", "in the original", *GROUP_NAMES.values())
    return Table(head, rows, title="Widths of every layer")


def _draw_compensation(figure: Any, modules: Sequence[CompensatedModule]) -> None:
    span = layer_span(module.layer_idx for module in modules)
    for kind, axes in sublayer_axes(figure, span, share_y=True).items():
        own = [module for module in modules if module.group_type == kind]
        at = [module.layer_idx for module in own]
        before = [100 * module.error_before for module in own]
        after = [100 * module.error_after for module in own]
        axes.vlines(at, after, before, color=COLOURS[kind], alpha=0.5, lw=1)
        axes.plot(at, before, "o", color=COLOURS[kind], markersize=4, fillstyle="none")
        axes.plot(at, after, "o", color=COLOURS[kind], markersize=4)
    most = max((max(one.error_before, one.error_after) for one in modules), default=0.0)
    figure.axes[0].set_ylim(0, 100 * _HEADROOM * (most or 1.0))
    figure.axes[0].set_ylabel("% of the squares")


def _draw_loss(figure: Any, curve: Sequence[LossPoint]) -> None:
    axes = figure.subplots()
    steps = np.array([point.step for point in curve])
    losses = np.array([point.loss for point in curve])
    colour = COLOURS["attention"]
    width = max(1, len(losses) // _MEAN_PARTS)
    smooth = np.convolve(losses, np.full(width, 1 / width), "valid")
    axes.plot(steps, losses, color=colour, alpha=0.35, lw=0.8)
    axes.plot(steps[width - 1 :], smooth, color=colour, lw=1.6)
    axes.set_xlabel("step")
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.set_ylabel("nats a learned token")


def _compensation_facts(record: CompensationRecord) -> Iterator[tuple[str, str]]:
    """Yield text, settings and results."""
    yield "text", describe_text(record.text)
    yield "windows that only judge", f"{record.held_out_windows:,}"
    if record.beginnings:
        yield "short windows beside", f"{record.beginnings:,}"
    yield "sublayers that changed", f"{record.accepted:,} of {len(record.modules):,}"
    if record.gate_steps:
        yield "steps for gate and up", f"{record.gate_steps} at most"
    yield "ridge strengths tried", ", ".join(f"{strength:g}" for strength in record.strengths)
    norm = record.final_norm
    if norm is not None:
        what = "compensated" if norm.refitted else "unchanged"
        before, after = norm.divergence_before, norm.divergence_after
        yield "final norm", f"{what}: KL {before:.4g} → {after:.4g} nats a token"
    yield "digest of the windows", record.text.digest
    memory = format_bytes(record.peak_memory_bytes)
    yield "took", f"{format_duration(record.seconds)} in {record.dtype}, {memory} of memory at most"


def _compensation_table(record: CompensationRecord) -> Table:
    """Return the errors of every sublayer that lies behind a cut."""
    rows = tuple(
        (
            f"{one.layer_idx} {SUBLAYER_NAMES[one.group_type]}",
            f"{one.kept_inputs:,}",
            f"{100 * one.error_before:.3f} %",
            f"{100 * one.error_after:.3f} %",
            _changed(one),
        )
        for one in record.modules
    )
    head = ("layer", "inputs that stay", "error before", "error after", "changed weights")
    return Table(head, rows, title="Errors on held-out windows, sublayer by sublayer")


def _changed(one: CompensatedModule) -> str:
    """Return the weights of a sublayer that changed."""
    parts = [*(["output"] if one.strength is not None else []), *one.gates]
    return ", ".join(parts) or "nothing"


def _run(run: FinetuneRun) -> Iterator[Block]:
    """Yield the blocks of one run."""
    yield Facts(tuple(_finetune_facts(run)))
    yield from warning_block(run.warnings)


def _finetune_facts(run: FinetuneRun) -> Iterator[tuple[str, str]]:
    """Yield what was trained, how, on which text, and how the loss fell."""
    settings, lora = run.settings, run.settings.lora
    yield "model", describe_model(run.model.source, run.model.revision)
    how = "all weights" if lora is None else f"LoRA, r {lora.r}, alpha {lora.alpha}"
    yield "trained", f"{how}: {run.trained_parameters:,} parameters"
    if run.teacher is not None:
        yield "teacher", describe_model(run.teacher.source, run.teacher.revision)
    for part in run.data:
        yield "text", describe_text(part.text)
    epochs = "one epoch" if settings.epochs == 1 else f"{settings.epochs} epochs"
    yield (
        "steps",
        (
            f"{run.steps:,} ({epochs}) at learning rate {settings.learning_rate:g}, batch size "
            f"{settings.batch_size} × {settings.accumulate}, seed {settings.seed}"
        ),
    )
    yield "learned tokens", f"{run.learned_tokens:,} an epoch"
    yield "loss", f"{run.first_loss:.3f} → {run.last_loss:.3f} (first and last tenth of the steps)"
    yield "took", f"{format_duration(run.seconds)} in {settings.precision} on {run.device}"


def _provenance(run: FinetuneRun) -> Facts:
    """Return the digests and versions of a run."""
    digests = {
        "weights before": run.model.weights,
        "teacher": run.teacher.weights if run.teacher else None,
        "windows of text": run.data_digest,
        "weights after": run.weights,
    }
    return provenance_block(digests, run.versions)


def _each_command_once(subsections: list[Subsection]) -> tuple[Subsection, ...]:
    """The subsections without commands that an earlier one shows, as all phases of gp prune do."""
    shown: set[Block] = set()
    unique = []
    for subsection in subsections:
        blocks = tuple(block for block in subsection.blocks if block not in shown)
        shown |= {block for block in blocks if isinstance(block, Commands)}
        unique.append(replace(subsection, blocks=blocks))
    return tuple(unique)


def _overview_row(
    cut: ApplyMetrics | None, finetuning: FinetuneRecord | None, evaluation: Comparison | None
) -> OverviewRow:
    """Return the result's row of the overview; its perplexity is that of its last weights."""
    last = finetuning.runs[-1] if finetuning else cut
    models = evaluation.models if evaluation else ()
    model = next((one for one in models if last and one.weights == last.weights), None)
    figures = perplexity_columns(evaluation, model) if evaluation and model else ("", "", "")
    what = "finetuned" if finetuning else "result"
    if cut is None:
        return OverviewRow(what, f"{model.parameters:,}" if model else "", "", *figures)
    return OverviewRow(what, f"{cut.parameters_after:,}", format_percent(cut.ratio), *figures)
