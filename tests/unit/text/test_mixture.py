"""Several sources at once: how a weight is written, and how windows are divided by weights."""

from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from globalprune.errors import TextError
from globalprune.text.mixture import WeightedSource, parse_mixture, windows_of_each
from globalprune.text.source import HubText, LocalText


@pytest.fixture
def text(tmp_path: Path) -> Path:
    """Give a file of text."""
    path = tmp_path / "a.txt"
    path.write_text("text")
    return path


def test_a_weight_stands_behind_an_at_sign_and_is_1_where_none_does(text: Path) -> None:
    """Paths and Hub ids take one alike, and the source's name is without it."""
    parts = parse_mixture([f"{text}@0.7", f"{text}", "org/set:name:train@3e-1"])
    assert parts == (
        WeightedSource(LocalText(str(text), (text,)), 0.7),
        WeightedSource(LocalText(str(text), (text,)), 1.0),
        WeightedSource(HubText("org/set:name:train", "org/set", "name", "train"), 0.3),
    )


@pytest.mark.parametrize("name", ["a@0.5.txt", "a@0.txt", "folder@2"])
def test_a_file_whose_name_has_an_at_sign_wins(tmp_path: Path, name: str) -> None:
    """What exists as it stands is never taken apart, though part of it may exist too."""
    (tmp_path / "a.txt").write_text("text")
    (tmp_path / "folder").mkdir()
    path = tmp_path / name
    if path.suffix == ".txt":
        path.write_text("text")
    else:
        path.mkdir()
        (path / "a.txt").write_text("text")
    (part,) = parse_mixture([str(path)])
    assert (part.source.name, part.weight) == (str(path), 1.0)


def test_such_a_file_takes_a_weight_too(tmp_path: Path) -> None:
    """Only what stands behind the last @ can be a weight."""
    path = tmp_path / "a@b.txt"
    path.write_text("text")
    (part,) = parse_mixture([f"{path}@0.25"])
    assert (part.source.name, part.weight) == (str(path), 0.25)


@pytest.mark.parametrize(
    ("weight", "message"),
    [
        ("much", r"what stands behind @ is the source's weight, and 'much' is no number; write"),
        ("0", r"the weight 0 is not a number above 0 "),
        ("-1", r"the weight -1 is not a number above 0 "),
        ("nan", r"the weight nan is not a number above 0 "),
        ("inf", r"the weight inf is not a number above 0 "),
    ],
    ids=["a word", "zero", "negative", "nan", "infinite"],
)
def test_what_is_no_weight_is_refused(text: Path, weight: str, message: str) -> None:
    """The message repeats what was written and says what a weight is."""
    with pytest.raises(TextError, match=rf"a\.txt@{weight}: {message}"):
        parse_mixture([f"{text}@{weight}"])


weights = st.lists(st.floats(1e-6, 1e6), min_size=1, max_size=6)


@settings(deadline=None, max_examples=200)
@given(weights=weights, samples=st.integers(1, 5000))
def test_windows_are_divided_to_the_last_one_and_follow_the_weights(
    weights: list[float], samples: int
) -> None:
    """No source is a whole window away from its exact share, and a heavier one has no fewer."""
    counts = windows_of_each(weights, samples)
    assert sum(counts) == samples
    for count, weight in zip(counts, weights, strict=True):
        assert abs(count - samples * weight / sum(weights)) < 1 + 1e-6
    by_weight = sorted(zip(weights, counts, strict=True))
    for (light, fewer), (heavy, more) in pairwise(by_weight):
        assert fewer <= more or light == pytest.approx(heavy, rel=1e-12)


@pytest.mark.parametrize(
    ("weights", "counts"),
    [([0.7, 0.3], [350, 150]), ([7, 3], [350, 150]), ([1, 1, 1], [167, 167, 166])],
    ids=["parts", "proportions", "a remainder"],
)
def test_only_the_proportions_of_weights_matter(weights: list[float], counts: list[int]) -> None:
    """They need not sum to 1; the earlier source gets the window that is left over."""
    assert windows_of_each(weights, 500) == counts
