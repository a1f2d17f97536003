"""Applies plans to tiny models, and tells what lies in a folder; also the record of an analysis."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cutting import Removals, write_removals
from records import analysis_record, text_record

from globalprune.artifacts.analyses.analysis import write_analysis_record
from globalprune.artifacts.plans.plan_file import read_plan_file
from globalprune.artifacts.results.cut import ApplyResult
from globalprune.artifacts.structure import ModelStructure
from globalprune.models.prepared_model import PreparedModel
from globalprune.options import ApplyOptions
from globalprune.progress import Reporter
from globalprune.surgery.executor import cut_model, refuse_cut
from globalprune.surgery.explain import Explanation, explain_cut
from globalprune.surgery.prepare import PreparedCut, prepare_cut

ALL_GROUPS = {"llama": (0, 1, 2, 3), "llama_tied_bias": (0, 1), "qwen2": (0, 1, 2)}
ALL_CHANNELS = tuple(range(24))


def prepared_cut(model: Path | str, plan: Path, **options: Any) -> PreparedCut:
    """Prepare a cut by a plan that lies on disk."""
    prepared = PreparedModel(model)
    return prepare_cut(prepared, read_plan_file(plan, prepared.structure), ApplyOptions(**options))


def apply_plan(model: Path | str, plan: Path, out: Path, **options: Any) -> ApplyResult:
    """Cut a model by a plan, without compensation."""
    overwrite = options.pop("overwrite", False)
    reporter = Reporter(command=tuple(options.pop("command", ())))
    prepared = prepared_cut(model, plan, **options)
    return cut_model(prepared, out, overwrite=overwrite, reporter=reporter)


def explained(model: Path | str, plan: Path) -> Explanation:
    """Say what applying a plan would do."""
    return explain_cut(prepared_cut(model, plan))


def refuse_apply(model: Path | str, plan: Path, out: Path, *, overwrite: bool = False) -> None:
    """Raise what applying a plan would raise before it writes."""
    refuse_cut(prepared_cut(model, plan), out, overwrite=overwrite)


def applied(base: Path, folder: Path, gone: Removals, **options: Any) -> ApplyResult:
    """Cut `base` into `folder`/out by a plan that is written beside it."""
    plan = write_removals(folder / "plan.yaml", gone)
    return apply_plan(base, plan, folder / "out", **options)


def bytes_below(folder: Path) -> dict[str, bytes]:
    """Every file of a folder, hidden ones too, by its path below it."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def write_record(
    folder: Path, structure: ModelStructure, *, table: str, digests: Sequence[str] = ()
) -> Path:
    """Write the analysis.json of an analysis that read documents with these digests."""
    text = text_record(source="calibration.txt", document_digests=tuple(digests))
    record = analysis_record(structure, table=table, calibration=text)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "analysis.json"
    write_analysis_record(path, record)
    return path
