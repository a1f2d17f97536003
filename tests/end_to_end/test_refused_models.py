"""Spoiled models: a message, exit code 2, and not a file left behind."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from command_line import files_below, gp, refused

Spoil = Callable[[Path], None]


def without_weights(folder: Path) -> None:
    """Take the weights away."""
    (folder / "model.safetensors").unlink()


def truncated(folder: Path) -> None:
    """Cut the weights short."""
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:5000])


def config_with(**changes: object) -> Spoil:
    """Change values of config.json."""

    def spoil(folder: Path) -> None:
        file = folder / "config.json"
        file.write_text(json.dumps(json.loads(file.read_text("utf-8")) | changes), "utf-8")

    return spoil


MODELS: dict[str, tuple[Spoil, str]] = {
    "no weights": (without_weights, "neither model.safetensors nor model.safetensors.index.json"),
    "truncated": (truncated, "is no whole safetensors file"),
    "other family": (
        config_with(model_type="gpt2"),
        "'gpt2', which globalprune can't cut: its layers",
    ),
    "quantised": (config_with(quantization_config={"quant_method": "gptq"}), "are quantised"),
    "layers miscounted": (config_with(num_hidden_layers=5), "num_hidden_layers 5"),
    "heads miscounted": (config_with(num_attention_heads=4), "num_attention_heads"),
    "odd head_dim": (config_with(head_dim=5), "heads of 5"),
}


@pytest.mark.parametrize("command", ["analyze", "apply", "measure"])
@pytest.mark.parametrize("name", MODELS)
def test_spoiled_models(
    tiny: Callable[[str], Path], tmp_path: Path, name: str, command: str
) -> None:
    """A checkpoint that contradicts itself is refused by every command that reads it."""
    spoil, message = MODELS[name]
    model, plan = tmp_path / "model", tmp_path / "plan.yaml"
    shutil.copytree(tiny("llama"), model)
    spoil(model)
    plan.write_text("format: globalprune.plan/1\nlayers: {}\n", "utf-8")
    before = files_below(tmp_path)
    options: dict[str, tuple[str | Path, ...]] = {
        "analyze": ("-o", tmp_path / "out", "--data", "builtin"),
        "apply": ("-o", tmp_path / "out", "--plan", plan),
        "measure": ("-o", tmp_path / "out.json", "--context", "8"),
    }

    refused(gp(command, model, *options[command]), message)
    assert files_below(tmp_path) == before
