"""Analyses of tiny models on short texts of token ids."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from tiny_models import random_ids

from globalprune.analysis.analyzer import analyze_model
from globalprune.artifacts.analyses.analysis import Analysis, read_analysis
from globalprune.artifacts.structure import LayerStructure, ModelStructure, SublayerStructure
from globalprune.models.prepared_model import PreparedModel
from globalprune.options import AnalyzeOptions
from globalprune.progress import Reporter

ROWS = random_ids(5, 10)


def write_ids(path: Path, rows: Sequence[torch.Tensor] = tuple(ROWS)) -> str:
    """Write windows as a .jsonl of `input_ids`; return what `--data` would be."""
    lines = [json.dumps({"input_ids": row.tolist()}) for row in rows]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return str(path)


def analysed(model: Path, folder: Path, out: str = "analysis", **options: Any) -> Analysis:
    """Analyse into a subfolder, and read back what was written."""
    options = {"data": write_ids(folder / "ids.jsonl"), **options}
    reporter = Reporter(command=tuple(options.pop("command", ())))
    chosen = AnalyzeOptions(**options)
    analyze_model(PreparedModel(model), folder / out, chosen, reporter=reporter)
    return read_analysis(folder / out)


def column(analysis: Analysis, name: str) -> dict[tuple[int, int, int], float]:
    """One importance by layer, kind and index."""
    table = analysis.table
    keys = zip(table.layer_idx, table.group_type, table.group_idx, strict=True)
    values = table.importances[name]
    return {
        (int(layer), int(kind), int(index)): float(value)
        for (layer, kind, index), value in zip(keys, values, strict=True)
    }


def plain_structure(attention: Sequence[int], mlp: Sequence[int]) -> ModelStructure:
    """Layers of so many attention groups of cost 10 and channels of cost 1."""
    layers = tuple(
        LayerStructure(
            attention=SublayerStructure(groups=groups, cost=10),
            mlp=SublayerStructure(groups=channels, cost=1),
            norms=1,
            query_heads_per_group=1,
            head_dim=8,
            tensors={},
        )
        for groups, channels in zip(attention, mlp, strict=True)
    )
    return ModelStructure(layers=layers, parameters=1000)
