"""Where plans go, and what their files are called."""

from pathlib import Path

import pytest

from globalprune.errors import UsageError
from globalprune.planning.options import format_ratio, plan_paths


@pytest.mark.parametrize(
    ("ratio", "spelled"),
    [(0.2, "0.20"), (0.125, "0.125"), (0.0, "0.00"), (1e-5, "0.00001")],
)
def test_ratios_are_spelled_without_loss(ratio: float, spelled: str) -> None:
    """Two decimals at least, and as many as tell two ratios apart."""
    assert format_ratio(ratio) == spelled


def test_plans_go_where_people_look_for_them(tmp_path: Path) -> None:
    """One goes to DIR/plan.yaml, several into DIR or the named folder, each ratio once."""
    here = tmp_path / "analysis"

    assert plan_paths(here, [0.2], None) == {0.2: here / "plan.yaml"}
    assert plan_paths(here, [0.1, 0.2, 0.1], None) == {
        0.1: here / "plan-0.10.yaml",
        0.2: here / "plan-0.20.yaml",
    }
    assert plan_paths(here, [0.2], tmp_path / "mine.yaml") == {0.2: tmp_path / "mine.yaml"}
    assert plan_paths(here, [0.2], tmp_path / "x") == {0.2: tmp_path / "x" / "plan-0.20.yaml"}


def test_one_file_cannot_hold_two_plans(tmp_path: Path) -> None:
    """Two ratios and a .yaml file is a slip, and nothing is written."""
    with pytest.raises(UsageError, match=r"mine.yaml: is one file for 2 plans; name a folder"):
        plan_paths(tmp_path, [0.1, 0.2], tmp_path / "mine.yaml")
