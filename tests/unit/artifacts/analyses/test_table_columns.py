"""Files that are no group table: no Parquet, or other columns than the contract names."""

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest
from artifact_values import structure_of, table_of
from pyarrow import parquet

from globalprune.artifacts.analyses.group_table import write_group_table
from globalprune.artifacts.analyses.table_columns import read_columns
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
