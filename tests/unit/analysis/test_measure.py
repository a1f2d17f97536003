"""From statistics to rows: every number stands at its own group."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from analysing import ROWS, analysed, plain_structure, write_ids
from numpy.typing import NDArray

from globalprune.analysis.measure import build_table
from globalprune.artifacts.analyses.analysis import Analysis
from globalprune.artifacts.analyses.reliability import reliability_of
from globalprune.importance import importances_named
from globalprune.statistics.interface import GroupSums, Statistic

SUMS: dict[Statistic, GroupSums] = {
    "first_order": {
        (1, "mlp"): torch.tensor([3.0, 30.0], dtype=torch.float64),
        (0, "mlp"): torch.tensor([2.0, 1.0], dtype=torch.float64),
        (0, "attention"): torch.tensor([500.0, 5.0], dtype=torch.float64),
    },
    "curvature": {
        (0, "attention"): torch.tensor([0.0, 0.5], dtype=torch.float64),
        (0, "mlp"): torch.tensor([0.25, 0.0], dtype=torch.float64),
        (1, "mlp"): torch.tensor([0.0, 0.0], dtype=torch.float64),
    },
}
# layer 1 lost its attention to an earlier cut
STRUCTURE = plain_structure(attention=(2, 0), mlp=(2, 2))


def test_rows_are_sorted_by_importance_over_cost() -> None:
    """An attention group of cost 10 competes with channels of cost 1; empty ones have no row."""
    table = build_table(STRUCTURE, range(2), importances_named(["taylor"]), SUMS)
    groups = list(
        zip(
            table.layer_idx.tolist(),
            table.group_type.tolist(),
            table.group_idx.tolist(),
            table.score.tolist(),
            strict=True,
        )
    )
    assert groups == [
        (0, 0, 1, 0.5),
        (0, 1, 1, 1.0),
        (0, 1, 0, 2.0),
        (1, 1, 0, 3.0),
        (1, 1, 1, 30.0),
        (0, 0, 0, 50.0),
    ]


def test_every_method_makes_its_column_from_its_own_statistics() -> None:
    """Shared statistics are read by both."""
    methods = importances_named(["taylor_2nd", "taylor"])
    table = build_table(STRUCTURE, range(1), methods, SUMS)
    assert set(table.layer_idx.tolist()) == {0}
    assert table.importances["taylor_2nd"].tolist() == [5.5, 1.0, 2.25, 500.0]
    assert table.importances["taylor"].tolist() == [5.0, 1.0, 2.0, 500.0]


Tiny = Callable[[str], Path]
METHODS = ["taylor", "fisher_winsorised", "wanda", "magnitude"]


def sublayers_of(tiny: Tiny, folder: Path, method: str, normaliser: str | None) -> list[Analysis]:
    """Two analyses, each of one half of the rows."""
    return [
        analysed(
            tiny("llama"), folder, out=name, importances=[method], normaliser=normaliser,
            data=write_ids(folder / f"{name}.jsonl", rows),
        )
        for name, rows in (("first", [*ROWS[:3]]), ("second", [*ROWS[3:]]))
    ]  # fmt: skip


def in_order(analysis: Analysis, column: str) -> NDArray[Any]:
    """A column of the table by layer, kind and index."""
    values = analysis.table.columns()[column]
    return np.array([values[row] for rows in analysis.table.sublayers.values() for row in rows])


@pytest.mark.parametrize(
    ("method", "normaliser"),
    [("taylor", None), ("fisher_winsorised", None), ("wanda", None), ("wanda", "none")],
)
def test_it_is_what_two_analyses_would_say(
    tiny: Tiny, tmp_path: Path, method: str, normaliser: str | None
) -> None:
    """Of the scores as they rank, through the normaliser that the record names."""
    found = analysed(tiny("llama"), tmp_path, importances=[method], normaliser=normaliser).record
    first, second = sublayers_of(tiny, tmp_path, method, normaliser)
    scores = [in_order(sublayer, "score") for sublayer in (first, second)]
    costs = in_order(first, "cost")
    expected = reliability_of(scores[0], scores[1], costs, found.structure.parameters)
    assert found.reliability.keys() == {method}
    assert found.reliability[method].rank_correlation == pytest.approx(
        expected.rank_correlation, abs=1e-3
    )
    pairs = zip(found.reliability[method].cuts, expected.cuts, strict=True)
    assert all(cut.shared == pytest.approx(other.shared, abs=0.02) for cut, other in pairs)
    assert found.reliability[method].rank_correlation < 1


def test_every_importance_has_its_own(tiny: Tiny, tmp_path: Path) -> None:
    """One that no text changes is sure."""
    record = analysed(tiny("llama"), tmp_path, importances=METHODS).record
    assert list(record.reliability) == METHODS
    assert record.reliability["magnitude"].rank_correlation == 1
    assert {cut.shared for cut in record.reliability["magnitude"].cuts} == {1.0}
    assert len({found.rank_correlation for found in record.reliability.values()}) == len(METHODS)
