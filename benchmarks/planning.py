"""Seconds and memory of `gp plan` on tables of large models' shapes, whole processes.

    python benchmarks/planning.py WORK [--shape NAME]… [--repeat 3] [-- options of gp plan]

The importances are drawn: log-normal, of another median in every layer. `rows-N` is a model whose
table has about that many rows; a row of the page says how seconds grow with rows beside n log n.
"""

import math
import multiprocessing
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from globalprune.artifacts.analyses.analysis import (
    ANALYSIS_FILE,
    AnalysisRecord,
    ModelRecord,
    write_analysis_record,
)
from globalprune.artifacts.analyses.group_table import ANALYSIS_KEY, GroupTable
from globalprune.artifacts.analyses.group_table_file import TABLE_FILE, write_group_table
from globalprune.artifacts.records import TextRecord
from globalprune.artifacts.structure import (
    GROUP_TYPES,
    LayerStructure,
    ModelStructure,
    SublayerStructure,
)


@dataclass(frozen=True)
class Shape:
    """A decoder of equal layers."""

    layers: int
    hidden: int
    heads: int
    groups: int
    width: int
    vocabulary: int
    head_dim: int = 128


SHAPES = {
    "llama-3-8b": Shape(32, 4096, 32, 8, 14336, 128256),  # https://arxiv.org/abs/2407.21783
    "llama-3.1-70b": Shape(80, 8192, 64, 8, 28672, 128256),
    "llama-3.1-405b": Shape(126, 16384, 128, 8, 53248, 128256),
    "rows-10000": Shape(16, 1024, 8, 4, 621, 32000),
    "rows-100000": Shape(32, 1024, 8, 4, 3121, 32000),
    "rows-1000000": Shape(64, 4096, 32, 8, 15617, 32000),
    "rows-10000000": Shape(128, 16384, 128, 8, 78117, 32000),
}


def main(
    work: Path,
    options: Annotated[list[str] | None, typer.Argument()] = None,
    *,
    shape: Annotated[list[str] | None, typer.Option()] = None,
    repeat: int = 3,
) -> None:
    """Print a row for every shape; of several runs the fastest counts."""
    print("| shape | rows | seconds | peak memory | seconds / (n log n), first row = 1 |")
    print("| --- | ---: | ---: | ---: | ---: |")
    first = None
    for name in shape or SHAPES:
        folder = work / name
        if not (folder / ANALYSIS_FILE).is_file():
            drawing = multiprocessing.Process(target=draw_analysis, args=(folder, SHAPES[name]))
            drawing.start()  # by itself: what it takes would count as memory of gp plan
            drawing.join()
        runs = [timed([str(folder), "--ratio", "0.25", *(options or [])]) for _ in range(repeat)]
        seconds, peak = min(runs)
        rows = SHAPES[name].layers * (SHAPES[name].groups + SHAPES[name].width)
        growth = seconds / (rows * math.log(rows))
        first = first or growth
        print(
            f"| {name} | {rows:,} | {seconds:.2f} | {peak / 1e6:.0f} MB | {growth / first:.2f} |",
            flush=True,
        )


def timed(arguments: list[str]) -> tuple[float, int]:
    """Seconds and peak resident bytes of one `gp plan`."""
    command = [sys.executable, "-m", "globalprune", "plan", *arguments, "--overwrite"]
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)  # noqa: S603 - our own
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{' '.join(command)}: failed")
    return time.perf_counter() - start, usage.ru_maxrss * 1024


def structure_of(shape: Shape) -> ModelStructure:
    """The groups of a shape and what they cost."""
    queries, keys = shape.heads * shape.head_dim, shape.groups * shape.head_dim
    hidden, width = shape.hidden, shape.width
    tensors = {
        "self_attn.q_proj.weight": (queries, hidden),
        "self_attn.k_proj.weight": (keys, hidden),
        "self_attn.v_proj.weight": (keys, hidden),
        "self_attn.o_proj.weight": (hidden, queries),
        "mlp.gate_proj.weight": (width, hidden),
        "mlp.up_proj.weight": (width, hidden),
        "mlp.down_proj.weight": (hidden, width),
    }
    layer = LayerStructure(
        attention=SublayerStructure(
            groups=shape.groups, cost=2 * hidden * (queries + keys) // shape.groups
        ),
        mlp=SublayerStructure(groups=width, cost=3 * hidden),
        norms=2 * hidden,
        query_heads_per_group=shape.heads // shape.groups,
        head_dim=shape.head_dim,
        tensors=tensors,
    )
    inside = layer.attention.prunable + layer.mlp.prunable + layer.norms
    outside = (2 * shape.vocabulary + 1) * hidden
    return ModelStructure(
        layers=(layer,) * shape.layers, parameters=shape.layers * inside + outside
    )


def draw_analysis(folder: Path, shape: Shape) -> None:
    """Write an analysis of drawn importances."""
    structure = structure_of(shape)
    sublayers = list(structure.sublayers())
    sizes = [sublayer.groups for _, _, sublayer in sublayers]
    cost = np.repeat([sublayer.cost for _, _, sublayer in sublayers], sizes)
    draw = np.random.default_rng(0)
    median = np.exp(draw.normal(0, 1, len(sublayers)))
    table = GroupTable.build(
        np.repeat([layer for layer, _, _ in sublayers], sizes),
        np.repeat([GROUP_TYPES.index(kind) for _, kind, _ in sublayers], sizes),
        np.concatenate([np.arange(size) for size in sizes]),
        cost,
        importances={"drawn": draw.lognormal(size=len(cost)) * np.repeat(median, sizes) * cost},
        metadata={ANALYSIS_KEY: "sha256:0"},
    )
    folder.mkdir(parents=True, exist_ok=True)
    write_group_table(folder / TABLE_FILE, table)
    write_analysis_record(folder / ANALYSIS_FILE, _record(structure, table))


def _record(structure: ModelStructure, table: GroupTable) -> AnalysisRecord:
    """Who measured what: nobody, nothing."""
    text = TextRecord(
        source="none", documents=0, document_digests=(), samples=0, seq_len=None, stride=None,
        tokens=0, predicted_tokens=0, seed=None, bos=False, digest="sha256:0",
    )  # fmt: skip
    model = ModelRecord(
        source="drawn",
        revision=None,
        model_type="llama",
        structure_fingerprint=structure.fingerprint,
        weights_fingerprint="sha256:0",
        parameters=structure.parameters,
        prunable_parameters=structure.prunable,
    )
    return AnalysisRecord(
        model=model, structure=structure, layers=(0, len(structure.layers)), calibration=text,
        methods=("drawn",), default_importance="drawn", dtype="float32", batch_size=1,
        table=table.digest, versions={}, seconds=0, peak_memory_bytes=0, command="",
    )  # fmt: skip


if __name__ == "__main__":
    typer.run(main)
