"""Which tensors a file gets: names, shapes, and that none of the checkpoint is lost."""

from pathlib import Path
from typing import Any

import pytest
from exporting import EVERYTHING, save_cut
from safetensors.torch import load_file, save_file

from globalprune.errors import CheckpointError
from globalprune.export.gguf.layout import tensors_of
from globalprune.export.gguf.subject import find_subject
from globalprune.export.gguf.tensors import GgufTensor


def laid_out(folder: Path) -> dict[str, GgufTensor]:
    """The tensors by name."""
    tensors = tensors_of(find_subject(str(folder), folder.with_suffix(".gguf")))
    assert len({tensor.name for tensor in tensors}) == len(tensors)
    return {tensor.name: tensor for tensor in tensors}


def test_names_and_shapes_of_a_cut_model(tmp_path: Path) -> None:
    """Layer 0 has one group of zeros, layer 2 has 32 channels of zeros."""
    tensors = laid_out(save_cut(tmp_path / "model", cut=EVERYTHING))
    shapes = {name: tensor.shape for name, tensor in tensors.items()}
    zeros = {name for name, tensor in tensors.items() if not tensor.rows}

    assert shapes["token_embd.weight"] == shapes["output.weight"] == (320, 64)
    assert shapes["blk.0.attn_q.weight"] == (32, 64)
    assert shapes["blk.0.attn_output.weight"] == (64, 32)
    assert shapes["blk.1.attn_k.weight"] == (16, 64)
    assert shapes["blk.1.ffn_down.weight"] == (64, 13)
    assert shapes["blk.2.ffn_gate.weight"] == (32, 64)
    assert zeros == {
        *(f"blk.0.attn_{part}.weight" for part in ("q", "k", "v", "output")),
        *(f"blk.2.ffn_{part}.weight" for part in ("gate", "up", "down")),
    }


def test_openelm_has_queries_keys_and_values_in_one(tmp_path: Path) -> None:
    """Padding has norms too, since every layer of that form has them."""
    tensors = laid_out(save_cut(tmp_path / "model", "qwen3", EVERYTHING))

    assert tensors["blk.3.attn_qkv.weight"].shape == ((4 + 2 * 2) * 16, 64)
    assert len(tensors["blk.3.attn_qkv.weight"].rows) == 3
    assert tensors["blk.0.attn_q_norm.weight"].fill == 1
    assert "blk.3.attn_q.weight" not in tensors
    assert "output.weight" not in tensors


def test_the_padding_that_a_plan_is_told_is_what_the_file_has(tmp_path: Path) -> None:
    """Both are counted apart."""
    folder = save_cut(tmp_path / "model", "llama with every bias", EVERYTHING)
    subject = find_subject(str(folder), tmp_path / "out.gguf")
    zeros = [tensor for tensor in tensors_of(subject) if not tensor.rows]

    assert subject.shape.padding(64) == sum(tensor.parameters for tensor in zeros)


def test_a_bias_of_an_emptied_half_stays(tmp_path: Path) -> None:
    """And those of groups that are gone have no zeros in their place."""
    tensors = laid_out(save_cut(tmp_path / "model", "llama with every bias", EVERYTHING))

    assert tensors["blk.0.attn_output.bias"].rows
    assert tensors["blk.2.ffn_down.bias"].rows
    assert "blk.0.attn_q.bias" not in tensors


def test_a_tensor_without_a_place_is_refused(tmp_path: Path) -> None:
    """It is never lost in silence."""
    folder = save_cut(tmp_path / "model")
    stored: dict[str, Any] = load_file(folder / "model.safetensors")
    stored["lm_head.bias"] = stored["model.norm.weight"].clone()
    save_file(stored, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match=r"lm_head\.bias: the model class wants nothing"):
        laid_out(folder)
