"""Which files of a model's folder travel with the result."""

import json
from pathlib import Path

import pytest

from globalprune.models.checkpoints.companions import (
    companions_of,
    copy_companion,
    write_generation_config,
)

TRAVEL = (
    "LICENSE",
    "LICENSE.txt",
    "NOTICE",
    "Notice.md",
    "USE_POLICY.md",
    "additional_chat_templates/tool_use.jinja",
    "chat_template.jinja",
    "generation_config.json",
    "merges.txt",
    "special_tokens_map.json",
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "vocab.json",
)
STAY = (
    "README.md",
    "config.json",
    "model.safetensors",
    "model.safetensors.index.json",
    "optimizer.pt",
    "pytorch_model.bin",
    "modeling_llama.py",
    "tokenizer_custom.py",
    "tokenizer.bin",
    "tokenizer.pkl",
    "vocab.pickle",
    "training_args.bin",
    "globalprune/plan.yaml",
    "original/tokenizer.model",
    ".git/config",
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with all of these files, each holding its own name."""
    for name in (*TRAVEL, *STAY):
        path = tmp_path / "model" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    return tmp_path / "model"


def test_what_belongs_to_the_model_travels_and_nothing_else(folder: Path) -> None:
    """Tokenizer, templates and licences; no code, no other weights, no pickle of any name."""
    assert companions_of(folder) == tuple(sorted(TRAVEL))


def test_a_folder_named_like_a_companion_is_no_file(folder: Path) -> None:
    """A directory of tokenizer files would break the copy."""
    (folder / "tokenizer").mkdir()
    assert "tokenizer" not in companions_of(folder)


def test_a_link_in_a_cache_becomes_a_file(folder: Path, tmp_path: Path) -> None:
    """The result must outlive the Hub's cache."""
    (folder / "tokenizer.json").rename(tmp_path / "blob")
    (folder / "tokenizer.json").symlink_to(tmp_path / "blob")
    for name in ("tokenizer.json", "additional_chat_templates/tool_use.jinja"):
        copy_companion(folder, name, tmp_path / "out")
    copied = tmp_path / "out" / "tokenizer.json"
    assert not copied.is_symlink()
    assert copied.read_text() == "tokenizer.json"
    assert (tmp_path / "out" / "additional_chat_templates" / "tool_use.jinja").is_file()


def test_a_gguf_models_special_tokens_are_written(tmp_path: Path) -> None:
    """Only those that it has: a null would be read as a decision."""
    config = {"eos_token_id": 2, "bos_token_id": 0, "pad_token_id": None, "hidden_size": 8}
    write_generation_config(config, tmp_path)
    written = json.loads((tmp_path / "generation_config.json").read_text())
    assert written == {"_from_model_config": True, "bos_token_id": 0, "eos_token_id": 2}
