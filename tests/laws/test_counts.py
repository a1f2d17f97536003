"""Law 3: the parameters and shapes that are promised are those that the saved model has."""

import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from applying import apply_plan, explained
from cutting import removals, tensors_in, write_removals
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_models import FAMILIES

from globalprune.models.loading import load_model


@pytest.mark.parametrize("family", FAMILIES)
@settings(max_examples=4, deadline=None)
@given(data=st.data())
def test_what_is_promised_is_what_is_saved(
    tiny: Callable[[str], Path], family: str, data: st.DataObject
) -> None:
    """`--explain`'s parameters and shapes are those of the file and of the class that loads it."""
    gone = data.draw(removals(family))
    with tempfile.TemporaryDirectory() as name:
        plan = write_removals(Path(name) / "plan.yaml", gone)
        promise = explained(tiny(family), plan).document
        result = apply_plan(tiny(family), plan, Path(name) / "out")
        found = {name: tensor.shape for name, tensor in tensors_in(Path(result.out)).items()}
        shapes = {
            step["becomes"]: step["facts"]["shape"]
            for step in promise["steps"]
            if step["step"] in ("KeepTensor", "SliceTensor")
        }
        parameters = sum(p.numel() for p in load_model(result.out).parameters())

    assert {name: tuple(shape) for name, shape in found.items()} == shapes
    assert promise["parameters_after"] == result.parameters_after == parameters
