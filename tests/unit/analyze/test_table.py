"""From statistics to rows: every number stands at its own group."""

import torch
from analysing import plain_structure

from globalprune.analyze.table import build_table
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
    """An attention group of cost 10 competes with channels of cost 1; empty halves have no row."""
    table = build_table(
        STRUCTURE, range(2), importances_named(["taylor"]), SUMS, identity="sha256:me"
    )
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
    assert table.metadata["globalprune.analysis"] == "sha256:me"


def test_every_method_makes_its_column_from_its_own_statistics() -> None:
    """Shared statistics are read by both."""
    methods = importances_named(["taylor_2nd", "taylor"])
    table = build_table(STRUCTURE, range(1), methods, SUMS)
    assert set(table.layer_idx.tolist()) == {0}
    assert table.importances["taylor_2nd"].tolist() == [5.5, 1.0, 2.25, 500.0]
    assert table.importances["taylor"].tolist() == [5.0, 1.0, 2.0, 500.0]
