"""Long sets of indices, cut short for the terminal."""

from globalprune.artifacts.plans.index_set import IndexSet
from globalprune.cli.plan_text import shortened


def test_many_indices_are_counted_and_the_first_are_shown() -> None:
    """No index is cut in two, and the number is that of all."""
    said = shortened(IndexSet.of(range(0, 600, 2)))

    assert said.startswith("0, 2, 4, ")
    assert said.endswith(", … (300 in all)")
    assert len(said) < 50


def test_few_indices_are_shown_whole() -> None:
    """As they stand in the plan."""
    assert shortened(IndexSet.parse("3, 7-900")) == "3, 7-900"
    assert shortened(IndexSet.parse("all")) == "all"
