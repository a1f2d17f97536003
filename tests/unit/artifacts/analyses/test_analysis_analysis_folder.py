"""A record and a table that must be of one analysis."""

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from artifact_values import layer_of, record_of, structure_of, table_of

from globalprune.artifacts.analyses.analysis import (
    AnalysisRecord,
    read_analysis,
    write_analysis_record,
)
from globalprune.artifacts.analyses.group_table import GroupTable
from globalprune.artifacts.analyses.group_table_file import write_group_table
from globalprune.artifacts.structure import ModelStructure
from globalprune.errors import GlobalPruneError, RecordInvalid, TableInvalid, UsageError

STRUCTURE = structure_of()
TABLE = table_of(STRUCTURE)
Part = tuple[AnalysisRecord, GroupTable]


def folder_of(folder: Path, record: AnalysisRecord, table: GroupTable) -> Path:
    """Write both files."""
    write_analysis_record(folder / "analysis.json", record)
    write_group_table(folder / "groups.parquet", table)
    return folder


def partial(structure: ModelStructure, said: range, measured: range) -> Part:
    """An analysis that says one range of layers and holds another."""
    table = table_of(structure, measured)
    layers = (said.start, said.stop)
    return record_of(structure, table).model_copy(update={"layers": layers}), table


def test_an_analysis_is_a_record_and_its_table(tmp_path: Path) -> None:
    """Both as they were written."""
    record = record_of(STRUCTURE, TABLE)
    analysis = read_analysis(folder_of(tmp_path, record, TABLE))
    assert (analysis.folder, analysis.record) == (tmp_path, record)
    assert analysis.table.digest == TABLE.digest


def test_a_column_of_ones_own_is_welcome(tmp_path: Path) -> None:
    """The first six columns are what the record cites."""
    folder_of(tmp_path, record_of(STRUCTURE, TABLE), TABLE)
    path = tmp_path / "groups.parquet"
    pd.read_parquet(path).assign(importance_mine=1.0).to_parquet(path)
    assert list(read_analysis(tmp_path).table.importances) == ["fisher", "wanda", "mine"]


def test_some_layers_are_an_analysis_too(tmp_path: Path) -> None:
    """What `--layers 1:3` leaves behind; a layer without groups has no rows."""
    read_analysis(folder_of(tmp_path / "a", *partial(STRUCTURE, range(1, 3), range(1, 3))))
    cut = structure_of(layer_of(), layer_of(0, 0), layer_of())
    read_analysis(folder_of(tmp_path / "b", *partial(cut, range(3), range(3))))


MISMATCHED: dict[str, tuple[Callable[[], Part], str]] = {
    "layers that are missing": (
        lambda: partial(STRUCTURE, range(4), range(3)),
        r"holds other layers than the 0:4 that analysis\.json names; put the two files of one",
    ),
    "layers beyond": (
        lambda: partial(STRUCTURE, range(1, 3), range(4)),
        r"holds other layers than the 1:3 that analysis\.json names",
    ),
    "another run": (
        lambda: (record_of(STRUCTURE, TABLE), table_of(STRUCTURE, seed=1)),
        (
            r"is not the table of analysis\.json: its digest is sha256:\w+, the record cites "
            r"sha256:\w+\. To score groups your own way, leave the first six columns as they are "
            r"and add a column importance_NAME; else run gp analyze again\."
        ),
    ),
    "another model": (
        lambda: (record_of(STRUCTURE, TABLE), table_of(structure_of(layer_of(mlp=8)))),
        (
            r"does not belong to the structure in analysis\.json: layer 0 mlp: 8 rows, not "
            r"one for each of its 24 groups"
        ),
    ),
}


@pytest.mark.parametrize(("made", "message"), MISMATCHED.values(), ids=MISMATCHED)
def test_two_files_that_are_no_pair_are_refused(
    tmp_path: Path, made: Callable[[], Part], message: str
) -> None:
    """The message is about the table and says how to make a pair of them again."""
    folder_of(tmp_path, *made())
    with pytest.raises(TableInvalid, match=rf"groups\.parquet: {message}"):
        read_analysis(tmp_path)


@pytest.mark.parametrize(
    ("gone", "error", "message"),
    [
        (None, UsageError, r"there is no such folder; name a folder that gp analyze wrote"),
        ("analysis.json", RecordInvalid, r"analysis\.json: can't be read \(No such file"),
        ("groups.parquet", TableInvalid, r"groups\.parquet: there is no such file; name a folder"),
    ],
    ids=["folder", "record", "table"],
)
def test_what_is_missing_is_named(
    tmp_path: Path, gone: str | None, error: type[GlobalPruneError], message: str
) -> None:
    """A folder, or one of its two files."""
    folder = tmp_path / "analysis"
    if gone:
        folder_of(folder, record_of(STRUCTURE, TABLE), TABLE)
        (folder / gone).unlink()
    with pytest.raises(error, match=message):
        read_analysis(folder)
