"""Law 1: cutting groups out equals leaving them in with their contributions zeroed."""

import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from applying import apply_plan
from cutting import removals, what_stays, write_removals
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_models import FAMILIES, random_ids, tiny_model
from uneven_models import masked

from globalprune.models.discovery.double_arithmetic import DoubleArithmetic
from globalprune.models.loading import load_model

IDS = random_ids(2, 9)


@pytest.mark.parametrize("family", FAMILIES)
@settings(max_examples=5, deadline=None)
@given(data=st.data())
def test_cutting_equals_masking(
    tiny: Callable[[str], Path], family: str, data: st.DataObject
) -> None:
    """The saved and re-read model gives the logits of the masked original, rounding apart."""
    gone = data.draw(removals(family))
    remove_empty_layers = data.draw(st.booleans())
    expected = masked(tiny_model(family), what_stays(family, gone)).double()
    with tempfile.TemporaryDirectory() as name, torch.no_grad():
        plan = Path(name) / "plan.yaml"
        write_removals(plan, gone, remove_empty_layers=remove_empty_layers)
        result = apply_plan(tiny(family), plan, Path(name) / "out")
        found = load_model(result.out, dtype=torch.float32).double()

        with DoubleArithmetic():
            torch.testing.assert_close(found(IDS).logits, expected(IDS).logits, rtol=0, atol=1e-9)
