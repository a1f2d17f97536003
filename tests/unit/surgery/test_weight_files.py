"""A plan's size in bytes: kept, broken by a dtype, or left to another tool."""

from pathlib import Path
from typing import Any

import pytest

from globalprune.artifacts.plans.plan import PrunePlan
from globalprune.models.checkpoints.checkpoint import TensorInfo
from globalprune.surgery.weight_files import WeightFiles, check_size, count_weight_files

WHOLE = {"a": TensorInfo((100, 100), "F32"), "b": TensorInfo((100,), "BF16")}
CUT = {"a": TensorInfo((50, 100), "F32"), "b": TensorInfo((100,), "BF16")}
PATH = Path("plan.yaml")


def files_as(save_dtype: str | None, dtype: str) -> WeightFiles:
    """The files of the cut, its large tensor stored so."""
    return count_weight_files(WHOLE, CUT | {"a": TensorInfo((50, 100), dtype)}, save_dtype)


def plan_with(**target: Any) -> PrunePlan:
    """A plan of this size."""
    return PrunePlan.model_validate(
        {"format": "globalprune.plan/1", "layers": {}, "target": target}
    )


def test_files_are_told_with_their_dtypes() -> None:
    """Headers included, so more than the tensors take."""
    files = count_weight_files(WHOLE, CUT, None)
    assert files.bytes_before > 40_200
    assert 20_200 < files.bytes_after < files.bytes_before
    before = f"weights: {files.bytes_before:,} bytes in bfloat16 and float32 → "
    assert files.text == before + (
        f"{files.bytes_after:,} bytes in bfloat16 and float32, whole files"
    )


@pytest.mark.parametrize("target", [{"size": 30_000}, {"ratio": 0.1}], ids=str)
def test_a_size_that_is_kept_or_never_asked_for_is_no_matter(target: dict[str, Any]) -> None:
    """Neither refused nor warned of."""
    promise = check_size(plan_with(**target), PATH, CUT, files_as(None, "F32"))
    assert (promise.broken, promise.warning) == (None, None)


def test_a_size_in_another_dtype_is_refused_with_the_way() -> None:
    """With the option that keeps it, or that has to go."""
    narrow = plan_with(size=15_000, dtype="bfloat16")
    promise = check_size(narrow, PATH, CUT, files_as(None, "F32"))
    assert promise.broken is not None
    assert "plan.yaml: target.size allows 15,000 bytes in bfloat16, and " in promise.broken
    assert "; say --save-dtype bfloat16, or plan again" in promise.broken
    stored = {"a": TensorInfo((50, 100), "BF16"), "b": TensorInfo((100,), "BF16")}
    promise = check_size(plan_with(size=15_000), PATH, stored, files_as("float32", "F32"))
    assert promise.broken is not None
    assert "; leave --save-dtype out, or plan again" in promise.broken


def test_int8_is_left_to_a_tool_that_quantises() -> None:
    """Gp doesn't write it, so it warns."""
    promise = check_size(plan_with(size=9000, dtype="int8"), PATH, CUT, files_as(None, "F32"))
    assert promise.broken is None
    assert promise.warning is not None
    assert "counted as int8, which gp doesn't write" in promise.warning


def test_a_size_that_no_dtype_keeps_is_an_edit() -> None:
    """It is applied, as an edit that breaks any other budget."""
    promise = check_size(plan_with(size=100), PATH, CUT, files_as(None, "F32"))
    assert (promise.broken, promise.warning) == (None, None)
