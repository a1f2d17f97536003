"""An analysis as it lies on disk: a record and the table that it cites, which must be one pair."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from globalprune.artifacts.analyses.analysis_record import (
    ANALYSIS_FILE,
    AnalysisRecord,
    read_analysis_record,
)
from globalprune.artifacts.analyses.group_table import TABLE_FILE, GroupTable, read_group_table
from globalprune.errors import TableInvalid, UsageError


@dataclass(frozen=True)
class Analysis:
    """What one run of gp analyze left behind."""

    folder: Path
    record: AnalysisRecord
    table: GroupTable


def read_analysis(folder: Path) -> Analysis:
    """Read both files; raise unless the table is the one that the record cites."""
    if not folder.is_dir():
        found = "is a file" if folder.is_file() else "there is no such folder"
        raise UsageError(f"{folder}: {found}; name a folder that gp analyze wrote.")
    record = read_analysis_record(folder / ANALYSIS_FILE)
    path = folder / TABLE_FILE
    table = read_group_table(path, record.structure)
    measured = np.unique(table.layer_idx).tolist()
    wanted = [
        layer
        for layer in record.measured
        if record.structure.layers[layer].attention.candidates
        or record.structure.layers[layer].mlp.candidates
    ]
    if measured != wanted:
        first, end = record.layers
        raise TableInvalid(
            f"{path}: holds other layers than the {first}:{end} that analysis.json names; "
            "put the two files of one analysis together, or run gp analyze again."
        )
    if table.digest != record.table:
        raise TableInvalid(
            f"{path}: is not the table of analysis.json: its digest is {table.digest}, the record "
            f"cites {record.table}. To score groups your own way, leave the first six columns as "
            "they are and add a column importance_NAME; else run gp analyze again."
        )
    return Analysis(folder, record, table)
