"""Compensated weights are found as they were kept, and only by the run that they belong to."""

from pathlib import Path

import pytest
import torch

from globalprune.artifacts.results.cut import CompensatedModule
from globalprune.artifacts.run_folder import RunFolder
from globalprune.compensation.sublayer_weights import (
    CompensatedSublayer,
    CompensatedWeights,
    SublayerWeights,
)

MODULE = CompensatedModule(
    layer_idx=3,
    group_type="mlp",
    tensor="model.layers.3.mlp.down_proj.weight",
    kept_inputs=4,
    strength=0.1,
    error_before=0.30000000000000004,
    error_after=0.2,
)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
def test_what_is_kept_is_found(tmp_path: Path, dtype: torch.dtype) -> None:
    """Weights to the last bit, transposed ones too, and what is known of them."""
    weight = torch.randn(4, 6).to(dtype).T
    kept = CompensatedSublayer(SublayerWeights(weight), MODULE)
    CompensatedWeights(RunFolder(tmp_path / "deep" / "work")).save(kept)
    store = CompensatedWeights(RunFolder(tmp_path / "deep" / "work"))
    found = store.load((3, "mlp"))
    assert found is not None
    assert found.record == MODULE
    assert found.weights.gating is None
    for same in (found.weights.output, store.load_part((3, "mlp"), "output")):
        assert same.dtype == dtype
        assert torch.equal(same, weight)


def test_gate_and_up_lie_in_the_same_file(tmp_path: Path) -> None:
    """Each is read by itself, too, or one behind the other, as a fused projection has them."""
    weights = SublayerWeights(torch.randn(6, 4), (torch.randn(4, 6), torch.randn(4, 6)))
    store = CompensatedWeights(RunFolder(tmp_path))
    store.save(CompensatedSublayer(weights, MODULE))
    found = store.load((3, "mlp"))
    assert found is not None
    assert found.weights.gating is not None
    assert weights.gating is not None
    for part, kept, read in zip(("gate", "up"), weights.gating, found.weights.gating, strict=True):
        assert torch.equal(read, kept)
        assert torch.equal(store.load_part((3, "mlp"), part), kept)  # type: ignore[arg-type]
    assert torch.equal(store.load_part((3, "mlp"), "gate_up"), torch.cat(weights.gating))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
def test_the_final_norm_lies_beside_them(tmp_path: Path, dtype: torch.dtype) -> None:
    """As it was kept, and the last one that was."""
    weight = torch.randn(6).to(dtype)
    for kept in (torch.zeros(6), weight):
        CompensatedWeights(RunFolder(tmp_path / "work")).save_final_norm(kept)
    found = CompensatedWeights(RunFolder(tmp_path / "work")).load_final_norm()
    assert found.dtype == dtype
    assert torch.equal(found, weight)


def test_what_nothing_helped_is_found_as_that(tmp_path: Path) -> None:
    """So that a resumed run counts it as it was."""
    module = MODULE.model_copy(update={"strength": None})
    kept = CompensatedSublayer(SublayerWeights(torch.zeros(2, 4)), module)
    CompensatedWeights(RunFolder(tmp_path)).save(kept)
    found = CompensatedWeights(RunFolder(tmp_path)).load((3, "mlp"))
    assert found is not None
    assert not found.record.accepted


@pytest.mark.parametrize("place", [(3, "attention"), (2, "mlp"), (33, "mlp")], ids=str)
def test_another_sublayer_is_not_found(tmp_path: Path, place: tuple[int, str]) -> None:
    """Neither the other sublayer of the layer, nor that of another layer."""
    store = CompensatedWeights(RunFolder(tmp_path))
    store.save(CompensatedSublayer(SublayerWeights(torch.zeros(2, 4)), MODULE))
    assert store.load(place) is None  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="was never compensated"):
        store.load_part(place, "output")  # type: ignore[arg-type]


def test_a_sublayer_that_could_not_be_written_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that is stopped while it writes leaves no part of a file to go on from."""

    def stopping(_tensors: object, path: str, **_: object) -> None:
        Path(path).write_bytes(b"half of it")
        raise KeyboardInterrupt

    store = CompensatedWeights(RunFolder(tmp_path))
    with monkeypatch.context() as patched:
        patched.setattr("safetensors.torch.save_file", stopping)
        with pytest.raises(KeyboardInterrupt):
            store.save(CompensatedSublayer(SublayerWeights(torch.zeros(2, 4)), MODULE))
    assert store.load((3, "mlp")) is None
    assert list(tmp_path.iterdir()) == []


def test_what_another_run_or_another_text_left_is_as_good_as_none(tmp_path: Path) -> None:
    """Not even what must be there is taken from it, so that no two runs are ever mixed."""
    run = RunFolder(tmp_path, {"run": "sha256:a"})
    ours, others = (
        CompensatedWeights(run.with_key({"text": "1"})),
        CompensatedWeights(run.with_key({"text": "2"})),
    )
    ours.save(CompensatedSublayer(SublayerWeights(torch.zeros(2, 4)), MODULE))
    ours.save_final_norm(torch.zeros(4))
    assert ours.load((3, "mlp")) is not None
    for stranger in (others, CompensatedWeights(RunFolder(tmp_path, {"run": "sha256:b"}))):
        assert stranger.load((3, "mlp")) is None
        with pytest.raises(ValueError, match="was never compensated"):
            stranger.load_part((3, "mlp"), "output")
        with pytest.raises(ValueError, match="was never compensated"):
            stranger.load_final_norm()
