"""curves.parquet is read back as it was written, and only beside its own analysis."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from globalprune.artifacts.analyses.loss_curves import Curves, read_curves, write_curves
from globalprune.errors import TableInvalid


def curves_of() -> Curves:
    """One sublayer of either kind; nothing but one removal was measured."""
    return Curves(
        layer_idx=np.array([0, 0, 1], np.int32),
        group_type=np.array([0, 0, 1], np.int8),
        removed_groups=np.array([1, 2, 1], np.int32),
        group_idx=np.array([3, 1, 0], np.int32),
        removed_params=np.array([10, 20, 5], np.int64),
        predicted_nats=np.array([0.1, 0.5, 0.25]),
        measured_nats=np.array([np.nan, 0.75, np.nan]),
    )


def test_what_was_written_is_read(tmp_path: Path) -> None:
    """Column by column; what was not measured is no number."""
    write_curves(tmp_path / "curves.parquet", curves_of(), identity="sha256:1")
    found = read_curves(tmp_path / "curves.parquet", identity="sha256:1")

    for name, column in vars(curves_of()).items():
        np.testing.assert_array_equal(getattr(found, name), column, err_msg=name)


def test_curves_of_another_analysis_are_refused(tmp_path: Path) -> None:
    """They would say wrong things of this one."""
    write_curves(tmp_path / "curves.parquet", curves_of(), identity="sha256:1")
    with pytest.raises(TableInvalid, match=r"curves\.parquet: belongs to another analysis than"):
        read_curves(tmp_path / "curves.parquet", identity="sha256:2")


def test_other_files_are_refused(tmp_path: Path) -> None:
    """By what they are and what they lack."""
    (tmp_path / "text").write_text("no table", "utf-8")
    parquet.write_table(pa.table({"layer_idx": [1]}), tmp_path / "other")
    with pytest.raises(TableInvalid, match=r"is not a Parquet file .*; run gp analyze again\."):
        read_curves(tmp_path / "text", identity="")
    with pytest.raises(TableInvalid, match=r"is of format none and lacks group_type, removed_gro"):
        read_curves(tmp_path / "other", identity="")
