"""Analyses made without a model: structures and tables of chosen or random numbers, on disk."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from records import analysis_record

from globalprune.artifacts.analyses.analysis import (
    ANALYSIS_FILE,
    Analysis,
    AnalysisRecord,
    read_analysis,
    write_analysis_record,
)
from globalprune.artifacts.analyses.group_table import ANALYSIS_KEY, GroupTable
from globalprune.artifacts.analyses.group_table_file import TABLE_FILE, write_group_table
from globalprune.artifacts.stored_weights import StoredWeights, stored_bytes
from globalprune.artifacts.structure import (
    GROUP_TYPES,
    LayerStructure,
    ModelStructure,
    ModelTraits,
    SublayerStructure,
)


def structure_of(
    layers: Sequence[tuple[int, int]] = ((2, 4), (2, 4), (2, 4)),
    *,
    attention_cost: int = 50,
    mlp_cost: int = 6,
    outside: int = 100,
    output_bias: int = 0,
) -> ModelStructure:
    """Layers of (attention groups, mlp channels); `outside` stands for the embeddings.

    An attention whose groups cost nothing is fixed, and holds `output_bias` parameters.
    """
    made = tuple(
        LayerStructure(
            attention=SublayerStructure(
                groups=groups, cost=attention_cost if groups else 0, kept=output_bias
            ),
            mlp=SublayerStructure(groups=channels, cost=mlp_cost if channels else 0),
            norms=4,
            query_heads_per_group=2,
            head_dim=2,
            tensors={},
        )
        for groups, channels in layers
    )
    inside = sum(
        sublayer.prunable + sublayer.kept
        for layer in made
        for sublayer in (layer.attention, layer.mlp)
    )
    return ModelStructure(layers=made, parameters=inside + 4 * len(made) + outside)


def table_of(
    structure: ModelStructure, seed: int = 0, *, layers: range | None = None
) -> GroupTable:
    """Random importances, `mine` first and `other` second, for the measured layers."""
    measured = layers or range(len(structure.layers))
    rows = [
        (layer, GROUP_TYPES.index(kind), index, sublayer.cost)
        for layer, kind, sublayer in structure.sublayers()
        if layer in measured
        for index in range(sublayer.candidates)
    ]
    layer_idx, group_type, group_idx, cost = np.asarray(rows).T
    draw = np.random.default_rng(seed)
    return GroupTable.build(
        layer_idx,
        group_type,
        group_idx,
        cost,
        importances={"mine": draw.random(len(rows)), "other": draw.random(len(rows))},
        metadata={ANALYSIS_KEY: "sha256:3"},
    )


def record_of(structure: ModelStructure, table: GroupTable, layers: range) -> AnalysisRecord:
    """The record of a table."""
    return analysis_record(
        structure,
        table=table.digest,
        layers=(layers.start, layers.stop),
        methods=("mine", "other"),
        default_importance="mine",
    )


def storage_of(
    structure: ModelStructure,
    dtype: str = "F32",
    *,
    attention: str | None = None,
    overhead: int = 40,
) -> StoredWeights:
    """How a model of that structure is stored: all as `dtype`, or attention groups as another."""
    kinds = {"attention": attention or dtype, "mlp": dtype}
    numbers: dict[str, int] = {dtype: structure.parameters}
    for _, kind, sublayer in structure.sublayers():
        numbers[dtype] -= sublayer.prunable
        numbers[kinds[kind]] = numbers.get(kinds[kind], 0) + sublayer.prunable
    stored = sum(stored_bytes(count, of) for of, count in numbers.items())
    return StoredWeights(
        file_bytes=stored + overhead - 8,
        overhead=overhead,
        numbers=numbers,
        group_bytes=tuple(
            (
                stored_bytes(layer.attention.cost, kinds["attention"]),
                stored_bytes(layer.mlp.cost, kinds["mlp"]),
            )
            for layer in structure.layers
        ),
    )


def traits_with(model_type: str = "llama", **changes: Any) -> ModelTraits:
    """The traits of a plain model of that architecture."""
    plain: dict[str, Any] = {
        "hidden_size": 12,
        "tied_embeddings": False,
        "sliding_window": False,
        "rope_type": "default",
        "activation": "silu",
    }
    return ModelTraits(model_type=model_type, **(plain | changes))


def analysis_of(
    structure: ModelStructure,
    seed: int = 0,
    *,
    layers: range | None = None,
    folder: Path = Path(),
    traits: ModelTraits | None = None,
    storage: StoredWeights | None = None,
) -> Analysis:
    """An analysis in memory."""
    measured = layers or range(len(structure.layers))
    table = table_of(structure, seed, layers=measured)
    record = record_of(structure, table, measured)
    model = record.model.model_copy(update={"traits": traits, "storage": storage})
    return Analysis(folder, record.model_copy(update={"model": model}), table)


def saved_analysis(
    folder: Path,
    structure: ModelStructure | None = None,
    seed: int = 0,
    *,
    layers: range | None = None,
    traits: ModelTraits | None = None,
    storage: StoredWeights | None = None,
) -> Analysis:
    """The same on disk, read back."""
    analysis = analysis_of(
        structure or structure_of(), seed, layers=layers, traits=traits, storage=storage
    )
    folder.mkdir(parents=True, exist_ok=True)
    write_group_table(folder / TABLE_FILE, analysis.table)
    write_analysis_record(folder / ANALYSIS_FILE, analysis.record)
    return read_analysis(folder)
