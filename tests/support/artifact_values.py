"""Small structures, tables, records and plans made by hand: no model, no torch."""

from pathlib import Path

import numpy as np
from records import analysis_record

from globalprune.artifacts.analyses.analysis import AnalysisRecord
from globalprune.artifacts.analyses.group_table import ANALYSIS_KEY, GroupTable
from globalprune.artifacts.analyses.reliability import Reliability, SharedCut
from globalprune.artifacts.structure import (
    GROUP_TYPES,
    LayerStructure,
    ModelStructure,
    SublayerStructure,
)

FORMAT = "format: globalprune.plan/1"
ATTENTION_COST, MLP_COST = 100, 10
SHARED, NORMS, OUTSIDE = 6, 5, 1000  # q/k norms, norms of a layer, embeddings


def layer_of(attention: int = 4, mlp: int = 24, *, kept: int = 0) -> LayerStructure:
    """A layer of so many groups; `kept` parameters of its MLP are an output bias."""
    return LayerStructure(
        attention=SublayerStructure(groups=attention, cost=ATTENTION_COST, shared=SHARED),
        mlp=SublayerStructure(groups=mlp, cost=MLP_COST, kept=kept),
        norms=NORMS,
        query_heads_per_group=2,
        head_dim=8,
        tensors={"mlp.down_proj.weight": (8, mlp)},
    )


def structure_of(*layers: LayerStructure) -> ModelStructure:
    """A model of these layers, or of four equal ones."""
    layers = layers or (layer_of(),) * 4
    own = sum(
        layer.attention.prunable + SHARED + layer.mlp.prunable + layer.mlp.kept + NORMS
        for layer in layers
    )
    return ModelStructure(layers=layers, parameters=own + OUTSIDE)


def table_of(structure: ModelStructure, layers: range | None = None, seed: int = 0) -> GroupTable:
    """Random importances by two methods for every group of some layers, or of all."""
    rows = [
        (layer, GROUP_TYPES.index(kind), group, sublayer.cost)
        for layer, kind, sublayer in structure.sublayers()
        if layers is None or layer in layers
        for group in range(sublayer.groups)
    ]
    layer_idx, group_type, group_idx, cost = np.array(rows).T
    numbers = np.random.default_rng(seed)
    importances = {name: numbers.random(len(rows)) for name in ("fisher", "wanda")}
    return GroupTable.build(
        layer_idx, group_type, group_idx, cost, importances, {ANALYSIS_KEY: "sha256:0"}
    )


def record_of(structure: ModelStructure, table: GroupTable) -> AnalysisRecord:
    """The record of an analysis of all layers that left this table."""
    return analysis_record(
        structure,
        table=table.digest,
        methods=tuple(table.importances),
        default_importance=next(iter(table.importances)),
        reliability={
            name: Reliability(rank_correlation=0.95, cuts=(SharedCut(ratio=0.2, shared=0.9),))
            for name in table.importances
        },
    )


def plan_at(path: Path, *lines: str) -> Path:
    """Write a plan's format and these lines, as a person would."""
    path.write_text("\n".join([FORMAT, *lines]) + "\n", encoding="utf-8")
    return path
