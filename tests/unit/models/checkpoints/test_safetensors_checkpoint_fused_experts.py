"""Experts that are stored in one tensor are the same experts, for every command."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from applying import applied
from safetensors.torch import load_file, save_file
from tiny_models import random_ids

from globalprune.errors import CheckpointError
from globalprune.models.checkpoints.open import open_checkpoint
from globalprune.models.loading import load_model
from globalprune.models.registry import adapter_for
from globalprune.models.sources.source import resolve_model

Tiny = Callable[[str], Path]


def fuse(folder: Path, out: Path) -> Path:
    """Save a mixture under the names that transformers' own modules have."""
    shutil.copytree(folder, out)
    (out / "model.safetensors").unlink()
    model = load_model(folder)
    held = {name: value.contiguous() for name, value in model.state_dict().items()}
    assert any(name.endswith("experts.gate_up_proj") for name in held)
    save_file(held, out / "model.safetensors", metadata={"format": "pt"})
    return out


@pytest.mark.parametrize("family", ["qwen3_moe", "mixtral"])
def test_fused_experts_are_seen_one_by_one(tiny: Tiny, tmp_path: Path, family: str) -> None:
    """Names, shapes and values are those of the checkpoint that has them apart."""
    folder = fuse(tiny(family), tmp_path / "fused")
    fused, apart = (open_checkpoint(resolve_model(str(one))) for one in (folder, tiny(family)))
    assert dict(fused.tensors) == dict(apart.tensors)
    assert all(torch.equal(fused.read(name), apart.read(name)) for name in apart.tensors)
    assert adapter_for(fused.config).structure(fused) == adapter_for(apart.config).structure(apart)
    ids = random_ids(1, 8)
    expected = load_model(tiny(family))(ids).logits
    assert torch.equal(load_model(folder)(ids).logits, expected)
    written = Path(applied(folder, tmp_path, {}).out)
    assert torch.equal(load_model(written)(ids).logits, expected)
    assert not any("gate_up" in name for name in load_file(written / "model.safetensors"))


def test_more_experts_than_the_config_counts_are_refused(tiny: Tiny, tmp_path: Path) -> None:
    """By the tensor's name."""
    folder = fuse(tiny("qwen3_moe"), tmp_path / "fused")
    raw = json.loads((folder / "config.json").read_text()) | {"num_experts": 5}
    (folder / "config.json").write_text(json.dumps(raw))
    with pytest.raises(CheckpointError, match=r"_proj holds 4 experts, where config\.json says 5"):
        open_checkpoint(resolve_model(str(folder)))
