"""Applies plans to tiny models, and tells what lies in a folder; also the record of an analysis."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cutting import Removals, write_removals

from globalprune.apply.executor import apply_plan
from globalprune.apply.metrics_record import ApplyResult
from globalprune.artifacts.analysis_record import (
    AnalysisRecord,
    ModelRecord,
    TextRecord,
    write_analysis_record,
)
from globalprune.artifacts.groups import ModelStructure

ALL_GROUPS = {"llama": (0, 1, 2, 3), "llama_tied_bias": (0, 1), "qwen2": (0, 1, 2)}
ALL_CHANNELS = tuple(range(24))


def applied(base: Path, folder: Path, gone: Removals, **options: Any) -> ApplyResult:
    """Cut `base` into `folder`/out by a plan that is written beside it."""
    plan = write_removals(folder / "plan.yaml", gone)
    return apply_plan(str(base), plan, folder / "out", **options)


def bytes_below(folder: Path) -> dict[str, bytes]:
    """Every file of a folder, hidden ones too, by its path below it."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def text_record(digests: Sequence[str] = (), source: str = "calibration.txt") -> TextRecord:
    """A text of documents with these digests."""
    return TextRecord(
        source=source,
        documents=len(digests),
        document_digests=tuple(digests),
        samples=1,
        seq_len=8,
        stride=None,
        tokens=8,
        predicted_tokens=7,
        seed=0,
        bos=False,
        digest="sha256:1",
    )


def write_record(
    folder: Path, structure: ModelStructure, *, table: str, digests: Sequence[str] = ()
) -> Path:
    """Write the analysis.json of an analysis that read documents with these digests."""
    record = AnalysisRecord(
        model=ModelRecord(
            source="tiny",
            revision=None,
            model_type="llama",
            structure_fingerprint=structure.fingerprint,
            weights_fingerprint="sha256:2",
            parameters=structure.parameters,
            prunable_parameters=structure.prunable,
        ),
        structure=structure,
        layers=(0, len(structure.layers)),
        calibration=text_record(digests),
        methods=("taylor",),
        default_importance="taylor",
        dtype="float32",
        batch_size=1,
        table=table,
        versions={},
        seconds=1.0,
        peak_memory_bytes=0,
        command="gp analyze tiny",
    )
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "analysis.json"
    write_analysis_record(path, record)
    return path
