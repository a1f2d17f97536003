"""What a result holds: its cut, what was done to the rest, what it is like, and where it is from.

After gp prune its records are an analysis folder too, and the plan lies there as it was applied.
"""

from dataclasses import replace
from pathlib import Path

from globalprune.artifacts.analyses.analysis import ANALYSIS_FILE
from globalprune.artifacts.evaluations.evaluation import Comparison
from globalprune.artifacts.evaluations.evaluation_files import EVALUATION_FILE, read_evaluation
from globalprune.artifacts.plans.plan_file import PLAN_FILE
from globalprune.artifacts.results.compensation import COMPENSATION_FILE, read_compensation
from globalprune.artifacts.results.finetuning import (
    LOSS_FILE,
    RECOVERY_FILE,
    RecoveryRecord,
    read_loss_curve,
    read_recovery,
)
from globalprune.artifacts.results.metrics import METRICS_FILE, ApplyMetrics, read_metrics
from globalprune.report.analysis_section import analysis_part
from globalprune.report.compensation_section import compensation_part
from globalprune.report.content import Block, Commands, Glance, Part, Section
from globalprune.report.cut_section import cut_part
from globalprune.report.evaluation_section import evaluation_part, judged
from globalprune.report.known_plan import plan_beside
from globalprune.report.measured import read_measured
from globalprune.report.plan_section import plan_part
from globalprune.report.recovery_section import recovery_part
from globalprune.report.wording import percent


def result_section(own: Path, name: str) -> Section:
    """Read every record in a result's own folder, in the order in which a person asks for them."""
    has = {path.name for path in own.iterdir()}
    cut = read_metrics(own / METRICS_FILE) if METRICS_FILE in has else None
    recovery = read_recovery(own / RECOVERY_FILE) if RECOVERY_FILE in has else None
    judgement = read_evaluation(own / EVALUATION_FILE) if EVALUATION_FILE in has else None
    measured = read_measured(own, record_alone=True) if ANALYSIS_FILE in has else None
    parts: list[Part] = []
    if cut is not None:
        drawn = measured is not None and PLAN_FILE in has
        parts.append(cut_part(cut, drawn_elsewhere=drawn))
    if judgement is not None:
        parts.append(evaluation_part(judgement))
    if COMPENSATION_FILE in has:
        parts.append(compensation_part(read_compensation(own / COMPENSATION_FILE)))
    if recovery is not None:
        curve = read_loss_curve(own / LOSS_FILE) if LOSS_FILE in has else ()
        parts.append(recovery_part(recovery, curve))
    if PLAN_FILE in has:
        parts.append(plan_part(plan_beside(own / PLAN_FILE, measured))[0])
    if measured is not None:
        table = measured.analysis.table if measured.analysis else None
        parts.append(analysis_part(measured.record, table, measured.curves))
    return Section(name, _each_command_once(parts), (_glance(cut, recovery, judgement),))


def _each_command_once(parts: list[Part]) -> tuple[Part, ...]:
    """The parts without commands that stand in one before: gp prune is one for every phase."""
    said: set[Block] = set()
    found = []
    for part in parts:
        blocks = tuple(block for block in part.blocks if block not in said)
        said |= {block for block in blocks if isinstance(block, Commands)}
        found.append(replace(part, blocks=blocks))
    return tuple(found)


def _glance(
    cut: ApplyMetrics | None, recovery: RecoveryRecord | None, judgement: Comparison | None
) -> Glance:
    """The result in a line; its perplexity is that of the model with its last weights."""
    last = recovery.runs[-1] if recovery else cut
    models = judgement.models if judgement else ()
    model = next((one for one in models if last and one.weights == last.weights), None)
    figures = judged(judgement, model) if judgement and model else ("", "", "")
    what = "finetuned" if recovery else "result"
    if cut is None:
        return Glance(what, f"{model.parameters:,}" if model else "", "", *figures)
    return Glance(what, f"{cut.parameters_after:,}", percent(cut.ratio), *figures)
