"""What the parts of items are made into."""

import math

import pytest
from contest.figures import (
    best_peer,
    failed_items,
    log_difference,
    row_divergence,
    row_perplexity,
    rows_of,
)
from contest.table import OTHER
from contest_parts import part_of


def test_a_rows_perplexity_is_the_mean_over_seeds_and_their_deviation() -> None:
    """Each seed's is exp of its mean loss over tokens; one seed has no spread."""
    one, other = part_of("flap", (1.0, 3.0)), part_of("flap", (2.0, 4.0), seed=1)
    (row,) = rows_of([one, other])
    values = [math.exp(2), math.exp(3)]

    mean, spread = row_perplexity(row, OTHER)

    assert mean == pytest.approx(sum(values) / 2)
    assert spread == pytest.approx((values[1] - values[0]) / math.sqrt(2))
    assert row_perplexity(rows_of([one])[0], OTHER)[1] is None
    assert row_divergence(row, OTHER) == pytest.approx((0.5, 0.0))


def test_a_difference_is_paired_by_window() -> None:
    """What is hard for both drops out: only the windows' differences scatter."""
    (ours,) = rows_of([part_of("prune", (1.0, 5.0, 3.0))])
    (theirs,) = rows_of([part_of("flap", (1.1, 5.2, 3.3))])

    moved, error = log_difference(ours, theirs, OTHER)

    assert moved == pytest.approx(-0.2)
    assert error == pytest.approx(0.1 / math.sqrt(3))  # deviation 0.1 over three windows


def test_seeds_are_averaged_before_windows_are_paired() -> None:
    """Two calibrations of one recipe give one loss for each window."""
    (ours,) = rows_of([part_of("prune", (1.0, 2.0)), part_of("prune", (3.0, 4.0), seed=1)])
    (theirs,) = rows_of([part_of("flap", (2.0, 3.0))])

    assert log_difference(ours, theirs, OTHER) == pytest.approx((0.0, 0.0))


def test_other_windows_are_no_pairs() -> None:
    """The error names the text and both rows."""
    (ours,) = rows_of([part_of("prune")])
    other = part_of("flap")
    texts = {name: text.model_copy(update={"windows": "x"}) for name, text in other.texts.items()}
    (theirs,) = rows_of([other.model_copy(update={"texts": texts})])

    with pytest.raises(ValueError, match="other: prune and flap were judged by other windows"):
        log_difference(ours, theirs, OTHER)


def test_the_best_peer_is_none_of_ours_and_of_the_same_ratio() -> None:
    """The seed's method is a peer; a preset of ours and the dense model are not."""
    parts = [
        part_of("dense", (0.1,)),
        part_of("prune:best", (0.5,)),
        part_of("analyze:fisher", (0.6,)),
        part_of("flap", (3.0,)),
        part_of("global_taylor", (2.0,)),
        part_of("wanda_sp", (1.0,), ratio=0.1),
    ]

    found = best_peer(rows_of(parts), 0.2, OTHER)

    assert found is not None
    assert found.recipe == "global_taylor"
    assert best_peer(rows_of(parts), 0.5, OTHER) is None


def test_a_failed_item_is_in_no_row() -> None:
    """It is only named."""
    parts = [part_of("flap"), part_of("flap", seed=1, error="no memory")]

    (row,) = rows_of(parts)

    assert [part.item.seed for part in row.parts] == [0]
    assert [item.seed for item in failed_items(parts)] == [1]
