"""Tables whose rows contradict one another or the model that they are said to be of."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from artifact_values import layer_of, structure_of, table_of

from globalprune.artifacts.analyses.group_table import (
    GroupTable,
    read_group_table,
    write_group_table,
)
from globalprune.artifacts.groups import ModelStructure
from globalprune.errors import TableInvalid

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
