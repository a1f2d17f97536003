"""Sizes become products of config keys that hold for every model."""

import pytest

from globalprune.errors import UnsupportedArchitecture
from globalprune.models.discovery.sizes import fitted

SIZES = ({"heads": 6, "dim": 16, "width": 36}, {"heads": 4, "dim": 8, "width": 44})


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ((36, 44), "width"),
        ((96, 32), "heads*dim"),
        ((6, 11), "width/heads"),
        ((5, 5), "5"),
        ((36, 16), "heads*heads"),
    ],
)
def test_the_shortest_product_that_fits_all_models_is_taken(
    values: tuple[int, int], text: str
) -> None:
    """A number where it is the same in all."""
    assert fitted(values, SIZES) == text


def test_excluded_keys_are_not_used() -> None:
    """A dimension that groups divide is never the hidden size."""
    with pytest.raises(UnsupportedArchitecture, match="36 and 44"):
        fitted((36, 44), SIZES, excluded=("width",))


def test_a_size_that_nothing_explains_is_refused() -> None:
    """It would be guessed for every other model."""
    with pytest.raises(UnsupportedArchitecture, match="no product of its config's keys is 7 and 9"):
        fitted((7, 9), SIZES)
