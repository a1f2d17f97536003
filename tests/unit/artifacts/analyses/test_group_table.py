"""groups.parquet: anyone can read it, and its digest is over what it says, not how it is stored."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from artifact_values import structure_of, table_of
from pyarrow import parquet

from globalprune.artifacts.analyses.group_table import (
    ANALYSIS_KEY,
    FORMAT_KEY,
    IMPORTANCE_KEY,
    NORMALISER_KEY,
    TABLE_FORMAT,
    GroupTable,
)
from globalprune.artifacts.analyses.group_table_file import read_group_table, write_group_table
from globalprune.artifacts.structure import GROUP_TYPES
from globalprune.errors import TableInvalid, UsageError

TABLE = table_of(structure_of())
FIRST = ["layer_idx", "group_type", "group_idx", "importance", "cost", "score"]


@pytest.fixture
def written(tmp_path: Path) -> Path:
    """Give the table's file."""
    path = tmp_path / "groups.parquet"
    write_group_table(path, TABLE)
    return path


def test_plain_pandas_reads_everything(written: Path) -> None:
    """The columns, types and order of the contract, by a reader that knows nothing of us."""
    frame = pd.read_parquet(written)
    assert list(frame.columns) == [*FIRST, "importance_fisher", "importance_wanda"]
    assert frame.dtypes.astype(str).tolist() == [
        "int32",
        "category",
        "int32",
        "float64",
        "int64",
        *["float64"] * 3,
    ]
    assert frame["score"].is_monotonic_increasing
    assert (frame["score"] == frame["importance"] / frame["cost"]).all()
    assert (frame["importance"] == frame["importance_fisher"]).all()
    assert frame["group_type"].value_counts().to_dict() == {"mlp": 96, "attention": 16}
    assert frame.loc[frame["group_type"] == "attention", "cost"].unique().tolist() == [100]


def test_the_file_says_what_it_is(written: Path) -> None:
    """Format, analysis, method and normaliser; the arrow types are those of the contract."""
    schema = parquet.read_schema(written)
    assert schema.metadata == {
        ANALYSIS_KEY.encode(): b"sha256:0",
        FORMAT_KEY.encode(): TABLE_FORMAT.encode(),
        NORMALISER_KEY.encode(): b"none",
        IMPORTANCE_KEY.encode(): b"fisher",
    }
    assert str(schema.field("group_type").type).startswith("dictionary<values=string")


REWRITES: dict[str, Callable[[pd.DataFrame, Path], None]] = {
    "as it is": lambda frame, path: frame.to_parquet(path),
    "shuffled": lambda frame, path: frame.sample(frac=1, random_state=0).to_parquet(path),
    "indexed": lambda frame, path: (
        frame.assign(i=range(len(frame))).set_index("i").to_parquet(path)
    ),
    "more columns": lambda frame, path: frame.assign(note="mine", expert_idx=None).to_parquet(path),
    "columns reversed": lambda frame, path: frame[frame.columns[::-1]].to_parquet(path),
    "uncompressed": lambda frame, path: frame.to_parquet(path, compression=None),
    "small row groups": lambda frame, path: frame.to_parquet(path, row_group_size=7),
    "plain text": lambda frame, path: frame.astype({"group_type": "str"}).to_parquet(path),
}


@pytest.mark.parametrize("rewrite", REWRITES.values(), ids=REWRITES)
def test_a_table_that_pandas_wrote_is_the_same_table(
    written: Path, rewrite: Callable[[pd.DataFrame, Path], None]
) -> None:
    """Whatever order, storage and company its rows have; metadata may be lost."""
    rewrite(pd.read_parquet(written), written)
    table = read_group_table(written, structure_of())
    assert table.digest == TABLE.digest
    assert np.array_equal(table.score, TABLE.score)
    assert np.array_equal(table.importances["wanda"], TABLE.importances["wanda"])
    assert set(table.metadata) <= {FORMAT_KEY, ANALYSIS_KEY, NORMALISER_KEY, IMPORTANCE_KEY}


def test_the_digest_can_be_computed_without_us(written: Path) -> None:
    """SHA-256 of six columns, little-endian, ordered by layer, kind and index."""
    frame = pd.read_parquet(written)[FIRST]
    frame["group_type"] = (frame["group_type"] == "mlp").astype("uint8")
    frame = frame.sort_values(FIRST[:3])
    content = b"".join(frame[name].to_numpy().tobytes() for name in FIRST)
    assert TABLE.digest == "sha256:" + hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize("column", ["importance", "cost"])
def test_another_number_is_another_table(written: Path, column: str) -> None:
    """The least change of one importance or cost is seen."""
    frame = pd.read_parquet(written)
    old = frame.loc[5, column]
    frame.loc[5, column] = old + 1 if column == "cost" else np.nextafter(old, 2)
    frame["score"] = frame["importance"] / frame["cost"]
    frame.to_parquet(written)
    assert read_group_table(written).digest != TABLE.digest


def test_another_raw_column_is_the_same_table(written: Path) -> None:
    """A person may add scores of their own; the six first columns are what is cited."""
    frame = pd.read_parquet(written).assign(importance_mine=range(112))
    frame["importance_wanda"] *= 2
    frame.to_parquet(written)
    table = read_group_table(written)
    assert table.digest == TABLE.digest
    assert list(table.importances) == ["fisher", "wanda", "mine"]
    mine = table.rescored("mine")
    assert mine.importance[np.argsort(mine.importance)].tolist() == list(range(112))


def test_a_failed_write_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a table is no table."""

    def fail(_table: Any, where: Path) -> None:
        where.write_bytes(b"PAR1")
        raise OSError("disk full")

    monkeypatch.setattr(parquet, "write_table", fail)
    with pytest.raises(UsageError, match=r"groups|table.* can't be written \(disk full\); choose"):
        write_group_table(tmp_path / "groups.parquet", TABLE)
    assert not list(tmp_path.iterdir())


def test_ties_fall_by_layer_kind_and_index() -> None:
    """So that equal scores give one plan, whatever order the rows came in."""
    rows = [(1, 0, 0), (0, 1, 1), (0, 1, 0), (0, 0, 2), (0, 0, 1)]
    layer, kind, index = np.array(rows).T
    table = GroupTable.build(layer, kind, index, [10] * 5, {"x": [3.0] * 5}, {})
    found = list(zip(table.layer_idx, table.group_type, table.group_idx, strict=True))
    assert found == sorted(rows)


def test_another_importance_scores_the_same_groups_anew() -> None:
    """No model is needed; every row keeps its cost and its raw numbers, and the file says so."""
    table = TABLE.rescored("wanda")
    assert np.array_equal(table.importance, table.importances["wanda"])
    assert np.array_equal(table.score, table.importance / table.cost)
    assert (np.diff(table.score) >= 0).all()
    assert table.metadata == {**TABLE.metadata, IMPORTANCE_KEY: "wanda"}
    assert table.digest != TABLE.digest
    assert table.rescored("fisher").digest == TABLE.digest


def test_a_normaliser_acts_on_the_score_and_never_on_what_was_measured(tmp_path: Path) -> None:
    """The metadata names it; the file reads back as it is, and raw scores can be had again."""
    table = TABLE.rescored("wanda", "mean")
    assert table.metadata == {**TABLE.metadata, IMPORTANCE_KEY: "wanda", NORMALISER_KEY: "mean"}
    assert np.array_equal(np.sort(table.importances["wanda"]), np.sort(TABLE.importances["wanda"]))
    assert (np.diff(table.score) >= 0).all()
    for rows in table.sublayers.values():
        raw = table.importances["wanda"][rows] / table.cost[rows]
        np.testing.assert_allclose(table.score[rows], raw / raw.mean())
    write_group_table(tmp_path / "t.parquet", table)
    again = read_group_table(tmp_path / "t.parquet", structure_of())
    assert again.digest == table.digest
    assert again.metadata[NORMALISER_KEY] == "mean"
    assert again.rescored("wanda").digest == TABLE.rescored("wanda").digest


def test_a_bad_number_is_refused_as_it_was_measured(written: Path) -> None:
    """Not as the normaliser makes a whole sublayer of it."""
    frame = pd.read_parquet(written).assign(importance_mine=1.0)
    frame.loc[0, "importance_mine"] = np.nan
    frame.to_parquet(written)
    table = read_group_table(written, structure_of())
    with pytest.raises(TableInvalid, match="importance_mine: importance is not finite in 1 rows"):
        table.rescored("mine", "mean")


@pytest.mark.parametrize(
    ("values", "name", "message"),
    [
        (
            1.0,
            "taylor",
            r"importance 'taylor': the table has no column importance_taylor of numbers; it has",
        ),
        (np.nan, "mine", r"column importance_mine: importance is not finite in 112 rows, such as"),
        (
            "high",
            "mine",
            r"the table has no column importance_mine of numbers; it has fisher, wanda\.",
        ),
    ],
    ids=["missing", "not finite", "text"],
)
def test_a_column_that_cannot_score_is_refused(
    written: Path, values: Any, name: str, message: str
) -> None:
    """Only when it is asked for: a column that nobody uses may hold anything."""
    pd.read_parquet(written).assign(importance_mine=values).to_parquet(written)
    table = read_group_table(written, structure_of())
    with pytest.raises(TableInvalid, match=message):
        table.rescored(name)


def test_a_table_of_a_newer_format_is_refused(written: Path) -> None:
    """The message names both versions and the way out."""
    arrow = parquet.read_table(written)
    metadata = {FORMAT_KEY: "globalprune.groups/2"}
    parquet.write_table(arrow.replace_schema_metadata(metadata), written)
    with pytest.raises(
        TableInvalid,
        match=r"groups\.parquet: is of format globalprune\.groups/2, this globalprune reads "
        r"globalprune\.groups/1; install the globalprune that wrote it, or run gp analyze again",
    ):
        read_group_table(written)


def test_a_sublayer_lists_its_rows_by_index() -> None:
    """So that importances, masks and plans can be taken apart by sublayer in one way."""
    for (layer, kind), rows in TABLE.sublayers.items():
        assert (TABLE.layer_idx[rows] == layer).all()
        assert {GROUP_TYPES[code] for code in TABLE.group_type[rows]} == {kind}
        assert TABLE.group_idx[rows].tolist() == list(range(len(rows)))
    assert sum(map(len, TABLE.sublayers.values())) == len(TABLE)


def test_further_costs_stand_beside_importances(tmp_path: Path) -> None:
    """What a row saves of other budgets is for people who read the file; no digest changes."""
    path = tmp_path / "groups.parquet"
    write_group_table(path, TABLE, further_costs={"flops": np.arange(len(TABLE))})

    assert pd.read_parquet(path)["cost_flops"].tolist() == list(range(len(TABLE)))
    assert read_group_table(path).digest == TABLE.digest
