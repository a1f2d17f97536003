"""Compensates cuts of tiny models on rows of ids, and looks into models as it does."""

from pathlib import Path
from typing import Any

import torch
from cutting import Removals, tensors_in, write_removals
from text_files import write_column
from tiny_models import random_ids, tiny_model

from globalprune.artifacts.plans.plan_file import read_plan_file
from globalprune.artifacts.results.cut import (
    GATE_STEPS,
    ApplyResult,
    CompensationRecord,
    CompensationRequest,
    read_compensation,
)
from globalprune.artifacts.run_folder import RunFolder
from globalprune.models.checkpoints.open import open_checkpoint
from globalprune.models.loading import load_model
from globalprune.models.prepared_model import PreparedModel
from globalprune.models.registry import adapter_for
from globalprune.models.sources.source import resolve_model
from globalprune.options import ApplyOptions
from globalprune.sublayers.residual_stream import SublayerModel, sublayer_model
from globalprune.surgery.compensated_cut import read_windows
from globalprune.surgery.executor import cut_model
from globalprune.surgery.prepare import prepare_cut

ROWS, LENGTH = 16, 24


def running(folder: Path | str, dtype: torch.dtype = torch.float32) -> SublayerModel:
    """Load a model, an uneven one too, and find its sublayers."""
    checkpoint = open_checkpoint(resolve_model(str(folder)))
    adapter = adapter_for(checkpoint.config)
    return sublayer_model(load_model(folder, dtype=dtype), adapter, adapter.structure(checkpoint))


def ids_file(folder: Path, rows: int = ROWS, seed: int = 0) -> Path:
    """A file of windows of ids, for which no tokenizer is needed."""
    folder.mkdir(parents=True, exist_ok=True)
    return write_column(folder, "parquet", "input_ids", random_ids(rows, LENGTH, seed).tolist())


def compensation(
    folder: Path, *, gate_steps: int = GATE_STEPS, batch_size: int = 4, dtype: str | None = None
) -> ApplyOptions:
    """Compensation on the ids that lie in `folder`, put there if they don't."""
    data = folder / "rows.parquet"
    if not data.exists():
        ids_file(folder)
    request = CompensationRequest(data=str(data), gate_steps=gate_steps, batch_size=batch_size)
    return ApplyOptions(compensation=request, dtype=dtype)


def cut_compensated(model: Path | str, plan: Path, out: Path, options: ApplyOptions) -> ApplyResult:
    """Cut and compensate, with the work beside the plan."""
    prepared = PreparedModel(model)
    cut = prepare_cut(prepared, read_plan_file(plan, prepared.structure), options)
    return cut_model(cut, out, read_windows(prepared, options), RunFolder(plan.parent / "work"))


def compensated(base: Path | str, folder: Path, gone: Removals, **options: Any) -> ApplyResult:
    """Cut `base` into `folder`/out, and compensate it."""
    plan = write_removals(folder / "plan.yaml", gone)
    return cut_compensated(base, plan, folder / "out", compensation(folder, **options))


def record_of(out: Path | str) -> CompensationRecord:
    """What a result says of its compensation."""
    return read_compensation(Path(out) / "globalprune" / "compensation.json")


def changed_in(out: Path | str) -> set[str]:
    """The tensors that a result's record says are not what they were, by their old names."""
    record = record_of(out)
    norm = record.final_norm
    norms = {norm.tensor} if norm and norm.refitted else set()
    outputs = {module.tensor for module in record.modules if module.strength is not None}
    return norms | outputs | {name for module in record.modules for name in module.gates}


def differing(first: Path | str, second: Path | str) -> set[str]:
    """The tensors of two results of one cut that are not the same bits."""
    one, other = tensors_in(Path(first)), tensors_in(Path(second))
    assert one.keys() == other.keys()
    return {name for name in one if not torch.equal(one[name], other[name])}


def leaving(model: Any, ids: torch.Tensor) -> torch.Tensor:
    """The residual stream `[B, T, D]` behind a model's last layer."""
    left: list[torch.Tensor] = []
    handle = model.model.layers[-1].register_forward_hook(
        lambda _module, _args, output: left.append(output)
    )
    with torch.no_grad():
        model(ids)
    handle.remove()
    return left[0]


def save_with_twins(folder: Path, family: str, layer: int, channel: int, twin: int) -> Path:
    """Save a tiny model in which one channel of a layer computes what another does."""
    model: Any = tiny_model(family)
    mlp = model.model.layers[layer].mlp
    with torch.no_grad():
        for linear in (mlp.gate_proj, mlp.up_proj):
            for parameter in linear.parameters():
                parameter[twin] = parameter[channel]
    model.save_pretrained(folder)
    return folder
