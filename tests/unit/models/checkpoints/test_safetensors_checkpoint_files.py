"""Which file a tensor is read from: the index decides, for every command."""

import json
import os
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
from globalprune.models.sources.source import resolve_model

Tiny = Callable[[str], Path]
NAME = "model-0000{}-of-00002.safetensors"
EMBEDDING = "model.embed_tokens.weight"


@pytest.fixture
def sharded(tiny: Tiny, tmp_path: Path) -> Path:
    """Give a model in two shards; the second holds a tensor of the first, and one of nobody."""
    folder = Path(shutil.copytree(tiny("llama"), tmp_path / "sharded"))
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    first = {name: value for name, value in tensors.items() if "layers" not in name}
    second = {name: value for name, value in tensors.items() if "layers" in name}
    named = dict.fromkeys(first, NAME.format(1)) | dict.fromkeys(second, NAME.format(2))
    superseded = {EMBEDDING: torch.full_like(tensors[EMBEDDING], 9.0), "old.weight": torch.ones(2)}
    save_file(first, folder / NAME.format(1))
    save_file(second | superseded, folder / NAME.format(2))
    index = {"metadata": {}, "weight_map": named}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return folder


def test_what_the_index_does_not_name_is_no_part(tiny: Tiny, sharded: Path, tmp_path: Path) -> None:
    """Neither for what is counted and cut, nor for the model that runs."""
    whole, parts = (open_checkpoint(resolve_model(str(one))) for one in (tiny("llama"), sharded))
    assert parts.tensors == whole.tensors
    assert torch.equal(parts.read(EMBEDDING), whole.read(EMBEDDING))
    expected = load_model(tiny("llama"))(random_ids(1, 8)).logits
    assert torch.equal(load_model(sharded)(random_ids(1, 8)).logits, expected)
    written = applied(sharded, tmp_path, {}).out
    assert torch.equal(load_model(written)(random_ids(1, 8)).logits, expected)


def test_the_links_of_a_hub_cache_are_followed(sharded: Path, tmp_path: Path) -> None:
    """Every file of a snapshot is a link to a blob elsewhere."""
    snapshot = tmp_path / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    for file in sharded.iterdir():
        (snapshot / file.name).symlink_to(os.path.relpath(file, snapshot))
    assert open_checkpoint(resolve_model(str(snapshot))).parameters


@pytest.mark.parametrize(
    ("rename", "text"),
    [
        (
            {"model.safetensors.index.json": "x.json"},
            r"has shards \(model-00001.*\) and no model\.",
        ),
        (
            {
                "model.safetensors.index.json": "x.json",
                NAME.format(1): "consolidated.safetensors",
                NAME.format(2): "y.bin",
            },
            r"layout of Mistral's own programs alone \(consolidated\.safetensors\)",
        ),
    ],
    ids=["no index", "Mistral's own"],
)
def test_folders_without_a_whole_model_say_what_they_hold(
    sharded: Path, rename: dict[str, str], text: str
) -> None:
    """And what to do."""
    for old, new in rename.items():
        (sharded / old).rename(sharded / new)
    with pytest.raises(CheckpointError, match=text):
        open_checkpoint(resolve_model(str(sharded)))


def test_another_file_of_weights_is_refused_by_name(tiny: Tiny, tmp_path: Path) -> None:
    """Transformers would open it; beside that, Mistral's own layout is no second model."""
    folder = Path(shutil.copytree(tiny("llama"), tmp_path / "m"))
    shutil.copyfile(folder / "model.safetensors", folder / "consolidated.safetensors")
    assert open_checkpoint(resolve_model(str(folder))).parameters
    raw = json.loads((folder / "config.json").read_text())
    raw["transformers_weights"] = "consolidated.safetensors"
    (folder / "config.json").write_text(json.dumps(raw))
    with pytest.raises(CheckpointError, match=r"transformers_weights names 'consolidated.safetens"):
        open_checkpoint(resolve_model(str(folder)))


@pytest.mark.parametrize("file", ["model.safetensors", "tokenizer.json", "adapter_config.json"])
def test_a_pipe_in_a_folder_is_refused_at_once(tiny: Tiny, tmp_path: Path, file: str) -> None:
    """Whoever reads it would wait for ever."""
    folder = Path(shutil.copytree(tiny("llama"), tmp_path / "m"))
    (folder / file).unlink(missing_ok=True)
    os.mkfifo(folder / file)
    with pytest.raises(CheckpointError, match=rf"{file}: is a named pipe, where a file is needed"):
        open_checkpoint(resolve_model(str(folder)))
