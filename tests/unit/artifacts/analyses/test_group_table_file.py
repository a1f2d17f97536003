"""Files that are no group table: no Parquet, or other columns than the contract names."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from artifact_values import layer_of, structure_of, table_of
from pyarrow import parquet

from globalprune.artifacts.analyses.group_table import GroupTable
from globalprune.artifacts.analyses.group_table_file import (
    read_columns,
    read_group_table,
    write_group_table,
)
from globalprune.artifacts.structure import ModelStructure
from globalprune.errors import TableInvalid

TABLE = table_of(structure_of())


@pytest.fixture
def written(tmp_path: Path) -> Path:
    """Give the table's file."""
    path = tmp_path / "groups.parquet"
    write_group_table(path, TABLE)
    return path


@pytest.mark.parametrize("kept", [0, 300, 3000], ids=["empty", "cut early", "cut late"])
def test_a_truncated_file_is_refused(written: Path, kept: int) -> None:
    """An interrupted copy is one message, not a traceback."""
    whole = written.read_bytes()
    assert len(whole) > kept
    written.write_bytes(whole[:kept])
    with pytest.raises(TableInvalid, match=r"parquet: is not a Parquet file \(.+\); run gp analyz"):
        read_columns(written)


@pytest.mark.parametrize("name", ["nowhere.parquet", "."], ids=["no file", "a folder"])
def test_a_missing_file_is_refused(tmp_path: Path, name: str) -> None:
    """The message says what to name."""
    with pytest.raises(TableInvalid, match=r"there is no such file; name a folder that gp analyze"):
        read_columns(tmp_path / name)


MALFORMED: dict[str, tuple[Callable[[pd.DataFrame], pd.DataFrame], str]] = {
    "missing": (
        lambda frame: frame.drop(columns="cost"),
        r"is not a group table: column cost is missing\. Run gp analyze again, or write the column",
    ),
    "renamed": (
        lambda frame: frame.rename(columns={"group_idx": "index"}),
        r"column group_idx is missing",
    ),
    "wide integers": (
        lambda frame: frame.astype({"layer_idx": "int64"}),
        r"column layer_idx is of type int64, not int32",
    ),
    "narrow floats": (
        lambda frame: frame.astype({"score": "float32"}),
        r"column score is of type float, not double",
    ),
    "kinds as numbers": (
        lambda frame: frame.assign(group_type=0),
        r"column group_type is of type int64, not dictionary<string>",
    ),
    "holes": (
        lambda frame: frame.assign(importance=frame["importance"].where(frame.index > 2)),
        r"column importance has 3 nulls",
    ),
    "kinds with holes": (
        lambda frame: frame.assign(group_type=frame["group_type"].where(frame.index > 2)),
        r"column group_type has 3 nulls",
    ),
    "no rows": (lambda frame: frame.iloc[:0], r"is not a group table: it has no rows\."),
    "strange kind": (
        lambda frame: frame.assign(group_type="expert"),
        r"column group_type holds 'expert'; this globalprune knows attention and mlp\.",
    ),
}


@pytest.mark.parametrize(("damage", "message"), MALFORMED.values(), ids=MALFORMED)
def test_a_malformed_table_is_refused(
    written: Path, damage: Callable[[pd.DataFrame], pd.DataFrame], message: str
) -> None:
    """The message names the column, what it holds and what it should."""
    damage(pd.read_parquet(written)).to_parquet(written)
    with pytest.raises(TableInvalid, match=rf"groups\.parquet: .*{message}"):
        read_columns(written)


def test_all_columns_are_judged_at_once(written: Path) -> None:
    """One look at the message is enough to mend the file."""
    frame = pd.read_parquet(written).drop(columns="cost").astype({"layer_idx": "int64"})
    frame.to_parquet(written)
    with pytest.raises(
        TableInvalid, match=r"layer_idx is of type int64, not int32; column cost is"
    ):
        read_columns(written)


@pytest.mark.parametrize("name", ["importance", "group_type", "importance_wanda"])
def test_a_column_that_is_there_twice_is_refused(written: Path, name: str) -> None:
    """Nobody can say which one counts."""
    arrow = parquet.read_table(written)
    doubled = pa.Table.from_arrays([*arrow.columns, arrow[name]], names=[*arrow.column_names, name])
    parquet.write_table(doubled, written)
    with pytest.raises(
        TableInvalid, match=rf"is not a group table: column {name} is there twice\."
    ):
        read_columns(written)


@pytest.mark.parametrize("index", [pa.int8(), pa.int32(), pa.uint32()], ids=str)
@pytest.mark.parametrize("value", [pa.string(), pa.large_string()], ids=str)
def test_kinds_are_read_however_they_are_encoded(
    written: Path, index: pa.DataType, value: pa.DataType
) -> None:
    """pandas, polars and DuckDB each have their own way with categories."""
    arrow = parquet.read_table(written)
    kinds = arrow["group_type"].cast(pa.string()).to_pylist()
    column = pa.array(kinds).cast(value).dictionary_encode().cast(pa.dictionary(index, value))
    parquet.write_table(arrow.set_column(1, "group_type", column), written)
    columns, _, _ = read_columns(written)
    assert columns["group_type"].tolist() == TABLE.group_type.tolist()


def test_only_numbers_are_importances_and_only_our_notes_are_kept(written: Path) -> None:
    """Integers serve as well; what pandas notes for itself is not ours to keep."""
    frame = pd.read_parquet(written).assign(importance_rank=range(112), importance_note="mine")
    frame.to_parquet(written)
    _, importances, metadata = read_columns(written)
    assert list(importances) == ["fisher", "wanda", "rank"]
    assert importances["rank"].dtype == "float64"
    assert b"pandas" in parquet.read_schema(written).metadata
    assert not metadata


STRUCTURE = structure_of()


def rescored(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame with scores that fit its importances and costs."""
    return frame.assign(score=frame["importance"] / frame["cost"])


def set_first(column: str, value: Any) -> Callable[[pd.DataFrame], pd.DataFrame]:
    """A damage of one row, scored honestly."""

    def damage(frame: pd.DataFrame) -> pd.DataFrame:
        frame.loc[0, column] = value
        return rescored(frame)

    return damage


def read_damaged(tmp_path: Path, damage: Callable[[pd.DataFrame], pd.DataFrame]) -> GroupTable:
    """Write the table, damage its file and read it back against the structure."""
    path = tmp_path / "groups.parquet"
    write_group_table(path, table_of(STRUCTURE))
    frame = pd.read_parquet(path).sort_values(
        ["layer_idx", "group_type", "group_idx"], ignore_index=True
    )
    damage(frame).to_parquet(path)
    return read_group_table(path, STRUCTURE)


BROKEN: dict[str, tuple[Callable[[pd.DataFrame], pd.DataFrame], str]] = {
    "not a number": (
        set_first("importance", np.inf),
        r"importance is not finite in 1 rows, such as layer 0 attention 0\. Run gp analyze again",
    ),
    "free": (
        set_first("cost", 0),
        r"cost is not a positive number of parameters in 1 rows, such as layer 0 attention 0\.",
    ),
    "negative cost": (set_first("cost", -100), r"cost is not a positive number"),
    "negative index": (
        set_first("group_idx", -1),
        r"layer_idx or group_idx is negative in 1 rows, such as layer 0 attention -1\.",
    ),
    "twice": (
        lambda frame: pd.concat([frame, frame.iloc[30:32]], ignore_index=True),
        r"the group stands in the table twice in 2 rows, such as layer 1 attention [23]\.",
    ),
    "false score": (
        lambda frame: frame.assign(score=frame["score"] * (1 + 1e-8)),
        r"score is not importance / cost in 112 rows, such as layer 0 attention 0\.",
    ),
}


@pytest.mark.parametrize(("damage", "message"), BROKEN.values(), ids=BROKEN)
def test_a_row_that_breaks_a_rule_is_named(
    tmp_path: Path, damage: Callable[[pd.DataFrame], pd.DataFrame], message: str
) -> None:
    """As layer, kind and index, with the number of its kin."""
    with pytest.raises(TableInvalid, match=rf"groups\.parquet: {message}"):
        read_damaged(tmp_path, damage)


def test_every_broken_rule_is_told_at_once(tmp_path: Path) -> None:
    """And one row is not blamed twice: a score of nonsense says nothing."""

    def damage(frame: pd.DataFrame) -> pd.DataFrame:
        frame.loc[0, "importance"] = np.inf
        frame.loc[1, "cost"] = 0
        frame.loc[:1, "score"] = 0.5
        return frame

    with pytest.raises(
        TableInvalid,
        match=r"not finite in 1 rows, such as layer 0 attention 0; cost is not a positive number "
        r"of parameters in 1 rows, such as layer 0 attention 1\. Run",
    ):
        read_damaged(tmp_path, damage)


def test_a_score_that_another_program_divided_is_taken(tmp_path: Path) -> None:
    """Its last bits may differ."""
    table = read_damaged(tmp_path, lambda frame: frame.assign(score=frame["score"] * (1 + 1e-12)))
    assert len(table) == 112


MISFITS: dict[str, tuple[ModelStructure, str]] = {
    "fewer layers": (
        structure_of(*(layer_of(),) * 3),
        r"layer 3 is not in the model, which has 3 layers\.",
    ),
    "fewer groups": (
        structure_of(*(layer_of(),) * 3, layer_of(attention=3)),
        r"layer 3 attention: 4 rows, not one for each of its 3 groups\.",
    ),
    "more groups": (
        structure_of(layer_of(mlp=25), *(layer_of(),) * 3),
        r"layer 0 mlp: 24 rows, not one for each of its 25 groups\.",
    ),
    "other everywhere": (
        structure_of(*(layer_of(5, 8),) * 4),
        (
            r"layer 0 attention: 4 rows, not one for each of its 5 groups; layer 0 mlp: .*; "
            r"layer 2 attention: [^;]*; …\."
        ),
    ),
}


@pytest.mark.parametrize(("structure", "message"), MISFITS.values(), ids=MISFITS)
def test_a_table_of_another_model_is_refused(
    tmp_path: Path, structure: ModelStructure, message: str
) -> None:
    """The message names the first differences, and how it may have come about."""
    path = tmp_path / "groups.parquet"
    write_group_table(path, table_of(STRUCTURE))
    with pytest.raises(
        TableInvalid, match=rf"to the structure in analysis\.json: {message} Put the two files"
    ):
        read_group_table(path, structure)


def test_costs_are_those_of_the_structure(tmp_path: Path) -> None:
    """A budget is spent in real parameters, not in whatever the table says."""
    with pytest.raises(TableInvalid, match=r"layer 0 attention: a cost that is not 100\. Put the"):
        read_damaged(tmp_path, set_first("cost", 99))


def test_a_missing_index_is_not_made_up_for_by_another(tmp_path: Path) -> None:
    """As many rows as groups are not enough: each group must be there."""
    with pytest.raises(
        TableInvalid, match=r"layer 0 attention: 4 rows, not one for each of its 4 groups"
    ):
        read_damaged(tmp_path, set_first("group_idx", 7))


def test_layers_that_were_not_measured_are_not_missed(tmp_path: Path) -> None:
    """`--layers` measures some; those must be whole."""
    path = tmp_path / "groups.parquet"
    write_group_table(path, table_of(STRUCTURE, range(1, 3)))
    assert set(read_group_table(path, STRUCTURE).layer_idx.tolist()) == {1, 2}
