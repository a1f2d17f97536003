"""Law 6: the order in which a plan names its removals changes nothing."""

import random
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from applying import apply_plan
from cutting import removals, write_removals
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_models import FAMILIES

WRITTEN = ("model.safetensors", "config.json", "README.md", "globalprune/origin.parquet")


@pytest.mark.parametrize("family", FAMILIES)
@settings(max_examples=3, deadline=None)
@given(data=st.data(), seed=st.integers(0, 999))
def test_order_of_removals_changes_no_byte(
    tiny: Callable[[str], Path], family: str, data: st.DataObject, seed: int
) -> None:
    """Two spellings of one plan make the same files."""
    gone = data.draw(removals(family))
    shuffle = random.Random(seed)  # noqa: S311
    other = {
        layer: {
            kind: shuffle.sample(indices, len(indices)) for kind, indices in reversed(sublayers)
        }
        for layer, sublayers in reversed(
            [(key, list(value.items())) for key, value in gone.items()]
        )
    }
    contents = []
    for spelling in (gone, other):
        with tempfile.TemporaryDirectory() as name:
            plan = write_removals(Path(name) / "plan.yaml", spelling)
            out = Path(name) / "out"
            apply_plan(tiny(family), plan, out)
            contents.append([(out / written).read_bytes() for written in WRITTEN])

    assert contents[0] == contents[1]
