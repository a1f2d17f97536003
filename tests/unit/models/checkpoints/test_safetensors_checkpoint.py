"""Folders of safetensors: what is read, what is left out, and what is refused."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_models import FAMILIES, tiny_model

from globalprune.errors import CheckpointError
from globalprune.models.checkpoints.checkpoint import Checkpoint, TensorInfo
from globalprune.models.checkpoints.open import open_checkpoint
from globalprune.models.sources.source import resolve_model

Tiny = Callable[[str], Path]
EMBEDDING, HEAD = "model.embed_tokens.weight", "lm_head.weight"


def opened(folder: Path) -> Checkpoint:
    """The checkpoint in a folder."""
    return open_checkpoint(resolve_model(str(folder)))


@pytest.fixture
def copy(tiny: Tiny, tmp_path: Path) -> Tiny:
    """Give a tiny model's folder that a test may damage."""

    def made(family: str) -> Path:
        return Path(shutil.copytree(tiny(family), tmp_path / family))

    return made


def edit_config(folder: Path, **changes: Any) -> None:
    """Change keys of config.json."""
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def edit_weights(folder: Path, change: Callable[[dict[str, torch.Tensor]], None]) -> None:
    """Change the stored tensors."""
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def shard(folder: Path) -> Path:
    """Split the weights in two, as large models come; return the index."""
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = sorted(tensors)
    weight_map: dict[str, str] = {}
    for number, part in enumerate((names[::2], names[1::2]), start=1):
        file = f"model-{number:05}-of-00002.safetensors"
        save_file({name: tensors[name] for name in part}, folder / file)
        weight_map |= dict.fromkeys(part, file)
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    return index


@pytest.mark.parametrize("family", FAMILIES)
def test_every_parameter_is_there_once_and_reads_back(tiny: Tiny, family: str) -> None:
    """Names, shapes and values are those of the saved model; tied ones appear once."""
    checkpoint = opened(tiny(family))
    model = tiny_model(family)
    stored = {name: parameter.detach() for name, parameter in model.named_parameters()}
    assert checkpoint.tensors == {
        name: TensorInfo(tuple(tensor.shape), "F32") for name, tensor in stored.items()
    }
    assert all(torch.equal(checkpoint.read(name), tensor) for name, tensor in stored.items())
    assert checkpoint.parameters == sum(tensor.numel() for tensor in stored.values())
    assert checkpoint.auxiliary_folder == tiny(family)


def test_a_sharded_checkpoint_is_the_same_checkpoint(copy: Tiny) -> None:
    """How the tensors are spread over files is nobody's business."""
    folder = copy("qwen2")
    whole = opened(folder)
    expected = {name: whole.read(name).clone() for name in whole.tensors}
    shard(folder)
    sharded = opened(folder)
    assert sharded.tensors == whole.tensors
    assert all(torch.equal(sharded.read(name), tensor) for name, tensor in expected.items())


def test_a_tied_head_that_is_stored_too_is_left_out(copy: Tiny) -> None:
    """Else the embedding would count twice."""
    folder = copy("llama_tied_bias")
    before = opened(folder)
    edit_weights(folder, lambda tensors: tensors.update({HEAD: tensors[EMBEDDING].clone()}))
    after = opened(folder)
    assert HEAD not in after.tensors
    assert after.parameters == before.parameters


def test_a_head_that_only_claims_to_be_tied_stays(copy: Tiny) -> None:
    """In transformers both stay when their values differ, so both are parameters."""
    folder = copy("llama_tied_bias")
    edit_weights(folder, lambda tensors: tensors.update({HEAD: tensors[EMBEDDING] + 1}))
    assert HEAD in opened(folder).tensors


def test_rotary_frequencies_are_no_parameters(copy: Tiny) -> None:
    """Old checkpoints carry them; every loader computes them anew."""
    folder = copy("llama")
    before = opened(folder).parameters
    name = "model.layers.0.self_attn.rotary_emb.inv_freq"
    edit_weights(folder, lambda tensors: tensors.update({name: torch.ones(4)}))
    assert name not in opened(folder).tensors
    assert opened(folder).parameters == before


def test_dtypes_are_spelled_as_safetensors_does(copy: Tiny) -> None:
    """Half precision stays half precision."""
    folder = copy("llama")
    edit_weights(
        folder, lambda tensors: tensors.update({k: v.bfloat16() for k, v in tensors.items()})
    )
    checkpoint = opened(folder)
    assert {info.dtype for info in checkpoint.tensors.values()} == {"BF16"}
    assert checkpoint.read(HEAD).dtype == torch.bfloat16


def test_pickles_are_not_read(copy: Tiny) -> None:
    """The message says why, and how to convert."""
    folder = copy("llama")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(
        CheckpointError,
        match=r"only pickle weights \(pytorch_model\.bin\), which are not read.*convert them with "
        r"save_pretrained\(safe_serialization=True\)",
    ):
        opened(folder)


def test_a_folder_without_weights_is_refused(copy: Tiny) -> None:
    """The message names the files that were looked for."""
    folder = copy("llama")
    (folder / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"neither model\.safetensors nor model\.safetensors"):
        opened(folder)


@pytest.mark.parametrize("length", [0, 100, 20_000], ids=["empty", "in header", "in weights"])
def test_a_truncated_file_is_refused(copy: Tiny, length: int) -> None:
    """A broken download is noticed before any work is done."""
    file = copy("llama") / "model.safetensors"
    file.write_bytes(file.read_bytes()[:length])
    with pytest.raises(CheckpointError, match=r"is no whole safetensors file \(.*\); download or"):
        opened(file.parent)


def test_a_missing_shard_is_named(copy: Tiny) -> None:
    """An interrupted download leaves the index and some of the shards."""
    index = shard(copy("llama"))
    (index.parent / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"shards that aren't there: model-00002-of-00002"):
        opened(index.parent)


def test_a_tensor_that_no_shard_holds_is_named(copy: Tiny) -> None:
    """The index must not promise more than the files keep."""
    index = shard(copy("llama"))
    content = json.loads(index.read_text())
    content["weight_map"]["model.ghost.weight"] = "model-00001-of-00002.safetensors"
    index.write_text(json.dumps(content))
    with pytest.raises(CheckpointError, match=r"tensors that no shard holds: model\.ghost\.weight"):
        opened(index.parent)


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("[]", "holds no JSON object"),
        ("not json", "can't be read as JSON"),
        ("[" * 100_000, "brackets within brackets, too deep"),
        ("{}", "is no index of safetensors"),
        ('{"weight_map": 3}', "is no index of safetensors"),
        ('{"weight_map": {"a": 3}}', "is no index of safetensors"),
        ('{"weight_map": {"a": "/etc/x.safetensors"}}', "names files outside of its folder"),
        ('{"weight_map": {"a": "../x.safetensors"}}', "names files outside of its folder"),
    ],
)
def test_a_broken_index_is_refused(copy: Tiny, content: str, text: str) -> None:
    """Whatever the file holds, the message is about the file."""
    index = shard(copy("llama"))
    index.write_text(content)
    with pytest.raises(CheckpointError, match=rf"index\.json: .*{text}"):
        opened(index.parent)


@pytest.mark.parametrize(
    ("content", "text"),
    [("{", "can't be read as JSON"), ("[]", "holds no JSON object")],
    ids=["cut short", "a list"],
)
def test_a_broken_config_is_refused(copy: Tiny, content: str, text: str) -> None:
    """The message names the file and what is wrong with it."""
    folder = copy("llama")
    (folder / "config.json").write_text(content)
    with pytest.raises(CheckpointError, match=rf"config\.json: {text}"):
        opened(folder)
