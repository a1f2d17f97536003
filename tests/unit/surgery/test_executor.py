"""A result is there whole or not at all, and the model that was cut stays as it was."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
import torch
from applying import applied, apply_plan, bytes_below, explained, refuse_apply
from cutting import Removals, write_removals
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import SafetensorError

from globalprune.artifacts.plans.index_set import IndexSet
from globalprune.errors import ApplyError, UsageError, VerificationFailed
from globalprune.models.checkpoints.checkpoint import TensorInfo
from globalprune.surgery.executor import cut_tensor
from globalprune.surgery.steps import KeepTensor, SliceTensor

Tiny = Callable[[str], Path]
GONE: Removals = {1: {"mlp": [0, 1]}, 3: {"attention": [2]}}


def fail_with(error: BaseException, after: int = 0) -> Callable[..., Any]:
    """A function that raises at its first call, or passes `cut_tensor`'s calls on until then."""
    from globalprune.surgery.executor import cut_tensor

    calls = iter(range(after))

    def failing(*arguments: Any, **_: Any) -> Any:
        if next(calls, None) is None:
            raise error
        return cut_tensor(*arguments)

    return failing


FAULTS = [
    pytest.param(
        "surgery.executor.cut_tensor",
        fail_with(MemoryError("no memory"), 9),
        MemoryError,
        id="in the walk",
    ),
    pytest.param(
        "surgery.executor.cut_tensor",
        fail_with(KeyboardInterrupt(), 9),
        KeyboardInterrupt,
        id="by Ctrl-C",
    ),
    pytest.param(
        "models.checkpoints.shard_writer.save_file",
        fail_with(SafetensorError("full")),
        ApplyError,
        id="in a file",
    ),
    pytest.param(
        "surgery.executor.verify",
        fail_with(VerificationFailed("no")),
        VerificationFailed,
        id="verifying",
    ),
    pytest.param(
        "surgery.executor.write_records", fail_with(OSError("full")), ApplyError, id="at the end"
    ),
]


@pytest.mark.parametrize(("place", "fault", "error"), FAULTS)
def test_a_failure_leaves_nothing_behind(
    tiny: Tiny,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    place: str,
    fault: Callable[..., Any],
    error: type[BaseException],
) -> None:
    """No folder, no half of one, no staging place: only the plan is there."""
    monkeypatch.setattr(f"globalprune.{place}", fault)
    with pytest.raises(error):
        applied(tiny("llama"), tmp_path, GONE)
    assert [path.name for path in tmp_path.iterdir()] == ["plan.yaml"]


@pytest.mark.parametrize("place", ["executor.verify", "executor.write_records"])
def test_a_failure_leaves_the_old_result_alone(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    """What `overwrite` would have replaced is there to the last byte."""
    old = bytes_below(Path(applied(tiny("llama"), tmp_path, {0: {"mlp": [5]}}).out))
    monkeypatch.setattr(f"globalprune.surgery.{place}", fail_with(VerificationFailed("no")))
    with pytest.raises(VerificationFailed):
        applied(tiny("llama"), tmp_path, GONE, overwrite=True)
    assert bytes_below(tmp_path / "out") == old
    assert {path.name for path in tmp_path.iterdir()} == {"plan.yaml", "out"}


def test_a_full_disk_is_told_with_the_way_out(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message names the result's place, not the staging folder that is gone."""
    fault = fail_with(OSError(28, "No space left on device"))
    monkeypatch.setattr("globalprune.models.checkpoints.shard_writer.save_file", fault)
    with pytest.raises(ApplyError, match=r"/out: could not be written \(.*No space.*the disk has"):
        applied(tiny("llama"), tmp_path, GONE)


def test_a_slip_of_the_knife_is_caught(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A tensor that loses a row too many is named, with both shapes, and not kept."""
    from globalprune.surgery.executor import cut_tensor

    def slipping(tensor: torch.Tensor, step: Any) -> torch.Tensor:
        found = cut_tensor(tensor, step)
        return found[1:].contiguous() if step.name.endswith("1.mlp.up_proj.weight") else found

    monkeypatch.setattr("globalprune.surgery.executor.cut_tensor", slipping)
    wanted = r"layers\.1\.mlp\.up_proj\.weight: promised \[22, 32\] F32, found \[21, 32\] F32"
    with pytest.raises(VerificationFailed, match=wanted):
        applied(tiny("llama"), tmp_path, GONE)
    assert not (tmp_path / "out").exists()


def test_overwrite_replaces_the_whole_folder(tiny: Tiny, tmp_path: Path) -> None:
    """Nothing of the old result lingers: its modeling file would make the new one lie."""
    first = applied(tiny("llama"), tmp_path, {0: {"mlp": range(24)}})
    assert "modeling_globalprune.py" in bytes_below(Path(first.out))
    equal: Removals = {layer: {"mlp": [layer]} for layer in range(4)}
    second = applied(tiny("llama"), tmp_path, equal, overwrite=True)
    (tmp_path / "fresh").mkdir()
    fresh = applied(tiny("llama"), tmp_path / "fresh", equal)
    assert bytes_below(Path(second.out)).keys() == bytes_below(Path(fresh.out)).keys()


def test_the_model_is_only_read(tiny: Tiny, tmp_path: Path) -> None:
    """Not a byte of its folder changes, and none is added."""
    before = bytes_below(tiny("llama"))
    applied(tiny("llama"), tmp_path, GONE)
    assert bytes_below(tiny("llama")) == before


def test_explaining_and_checking_write_nothing(tiny: Tiny, tmp_path: Path) -> None:
    """Both stop before the first byte."""
    plan = write_removals(tmp_path / "plan.yaml", GONE)
    explained(tiny("llama"), plan)
    refuse_apply(tiny("llama"), plan, tmp_path / "deep" / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["plan.yaml"]


def test_checking_refuses_what_applying_refuses(tiny: Tiny, tmp_path: Path) -> None:
    """So that long work ahead isn't done in vain; a link to the model is the model for both."""
    plan = write_removals(tmp_path / "plan.yaml", GONE)
    (tmp_path / "link").symlink_to(tiny("llama"), target_is_directory=True)
    for refusing in (refuse_apply, apply_plan):
        with pytest.raises(UsageError, match="is the model itself"):
            refusing(tiny("llama"), plan, tmp_path / "link")


def test_a_cut_model_can_be_cut_again(tiny: Tiny, tmp_path: Path) -> None:
    """An uneven result is a model like any other; its emptied sublayer is no layer to drop."""
    first = applied(tiny("llama"), tmp_path, {0: {"attention": [0, 1, 2, 3]}, 1: {"mlp": [0]}})
    (tmp_path / "again").mkdir()
    second = applied(Path(first.out), tmp_path / "again", {0: {"mlp": [23]}, 2: {"mlp": [0]}})
    widths = [(layer.attention_groups, layer.mlp_channels) for layer in second.layers]
    assert widths == [(0, 23), (4, 23), (4, 23), (4, 24)]


def slicing(kept: Iterable[int], dim: int) -> SliceTensor:
    """A step that keeps these slices of an 8 × 8 tensor."""
    facts = TensorInfo((8, 8), "F32")
    return SliceTensor(0, "before", "after", dim, IndexSet.of(kept), facts, facts)


@settings(deadline=None, max_examples=30)
@given(
    indices=st.sets(st.integers(0, 7), min_size=1),
    dim=st.integers(0, 1),
    dtype=st.sampled_from([torch.float32, torch.bfloat16, torch.float16]),
)
def test_the_kept_slices_and_no_others_stay(
    indices: set[int], dim: int, dtype: torch.dtype
) -> None:
    """They come in order, in their own dtype, bit for bit."""
    tensor = torch.randn(8, 8, generator=torch.Generator().manual_seed(0)).to(dtype)
    found = cut_tensor(tensor, slicing(indices, dim))
    assert found.dtype == dtype
    assert found.is_contiguous()
    assert torch.equal(found, tensor.index_select(dim, torch.tensor(sorted(indices))))


@pytest.mark.parametrize("dim", [0, 1], ids=["rows", "columns"])
def test_a_cut_tensor_lets_go_of_the_original(dim: int) -> None:
    """A view would hold the whole weight in memory until its shard is written."""
    found = cut_tensor(torch.ones(8, 8), slicing([2, 3], dim))
    assert found.untyped_storage().nbytes() == found.nbytes == 2 * 8 * 4


def test_a_transposed_tensor_is_written_in_its_own_order() -> None:
    """Safetensors refuses what is not contiguous, and no value may move for that."""
    tensor = torch.arange(6.0).reshape(2, 3).T
    kept = cut_tensor(tensor, KeepTensor(0, "a", "a", TensorInfo((3, 2), "F32")))
    assert kept.is_contiguous()
    assert torch.equal(kept, tensor)
