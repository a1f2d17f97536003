"""Spoiled analyses: a message, exit code 2, and not a file left behind."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from analyses import saved_analysis
from command_line import files_below, gp, refused

Spoil = Callable[[Path], None]
TABLE, RECORD = "groups.parquet", "analysis.json"


def table_with(**columns: object) -> Spoil:
    """Change columns of the table, as a script with pandas might."""

    def spoil(folder: Path) -> None:
        file = folder / TABLE
        pd.read_parquet(file).assign(**columns).to_parquet(file)

    return spoil


def without_a_column(folder: Path) -> None:
    """Drop a column."""
    pd.read_parquet(folder / TABLE).drop(columns="cost").to_parquet(folder / TABLE)


def without_rows(folder: Path) -> None:
    """Drop rows."""
    pd.read_parquet(folder / TABLE).iloc[5:].to_parquet(folder / TABLE)


def not_parquet(folder: Path) -> None:
    """Write something else."""
    (folder / TABLE).write_text("layer_idx,group_type\n", "utf-8")


def without_record(folder: Path) -> None:
    """Take analysis.json away."""
    (folder / RECORD).unlink()


def newer_record(folder: Path) -> None:
    """Write a record of the future."""
    (folder / RECORD).write_text('{"format": "globalprune.analysis/9"}', "utf-8")


ANALYSES: dict[str, tuple[Spoil, str]] = {
    "no cost": (without_a_column, "column cost is missing"),
    "missing rows": (without_rows, "does not belong to the structure in analysis.json"),
    "not parquet": (not_parquet, "is not a Parquet file"),
    "text for numbers": (table_with(importance="high"), "column importance is of type"),
    "infinite": (table_with(importance=float("inf")), "importance is not finite"),
    "other kinds": (table_with(group_type="expert"), "column group_type holds 'expert'"),
    "other scores": (table_with(score=1.0), "score is not importance / cost"),
    "no record": (without_record, "analysis.json: can't be read"),
    "newer record": (newer_record, "is of format globalprune.analysis/9"),
}


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A good analysis, to be spoiled in copies."""
    return saved_analysis(tmp_path_factory.mktemp("good")).folder


@pytest.mark.parametrize("name", ANALYSES)
def test_spoiled_analyses(good: Path, tmp_path: Path, name: str) -> None:
    """Plan refuses a table that was damaged, and writes no plan."""
    spoil, message = ANALYSES[name]
    folder = tmp_path / "analysis"
    shutil.copytree(good, folder)
    spoil(folder)
    before = files_below(tmp_path)

    refused(gp("plan", folder, "--ratio", 0.2, "-o", tmp_path / "plans"), message)
    assert files_below(tmp_path) == before
