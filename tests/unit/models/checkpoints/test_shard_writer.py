"""Tensors become files while they come."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
from applying import applied
from cutting import Removals, tensors_in
from safetensors.torch import load_file
from tiny_models import random_ids

from globalprune.models.checkpoints import shard_writer
from globalprune.models.checkpoints.shard_writer import ShardWriter
from globalprune.models.loading import load_model

TENSORS = {name: torch.full((2, 4), float(number)) for number, name in enumerate("abcde")}
TENSORS["huge"] = torch.ones(40, 4)
SIZE = 2 * 4 * 4  # bytes of a small one
PROMISED = {name: tensor.nbytes for name, tensor in TENSORS.items()}
INDEX = "model.safetensors.index.json"


@pytest.fixture
def small_shards(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Let files be of at most so many bytes."""
    return partial(monkeypatch.setattr, shard_writer, "MAX_SHARD_BYTES")


def test_a_shard_goes_to_disk_with_its_last_tensor(
    tmp_path: Path, small_shards: Callable[[int], None]
) -> None:
    """Memory holds one shard: the first is written before the last tensor has come."""
    small_shards(2 * SIZE)
    writer = ShardWriter(tmp_path, PROMISED)
    writer.put("a", TENSORS["a"])
    assert not list(tmp_path.iterdir())
    writer.put("b", TENSORS["b"])
    [first] = tmp_path.iterdir()
    assert load_file(first).keys() == {"a", "b"}


def test_the_index_says_where_everything_is(
    tmp_path: Path, small_shards: Callable[[int], None]
) -> None:
    """Every tensor is in the file that the index names, and the sizes add up."""
    small_shards(2 * SIZE)
    writer = ShardWriter(tmp_path, PROMISED)
    for name, tensor in TENSORS.items():
        writer.put(name, tensor)
    writer.finish()
    index = json.loads((tmp_path / INDEX).read_text())
    assert index["metadata"]["total_size"] == sum(tensor.nbytes for tensor in TENSORS.values())
    assert index["metadata"]["total_parameters"] == sum(t.numel() for t in TENSORS.values())
    assert index["weight_map"].keys() == TENSORS.keys()
    for name, file in index["weight_map"].items():
        assert torch.equal(load_file(tmp_path / file)[name], TENSORS[name])
    shards = sorted(path.name for path in tmp_path.glob("*.safetensors"))
    assert shards == [f"model-{number:05}-of-00004.safetensors" for number in range(1, 5)]


def test_what_fits_into_one_file_has_no_index(tmp_path: Path) -> None:
    """A small model is one model.safetensors, marked as PyTorch's for old readers."""
    from safetensors import safe_open

    writer = ShardWriter(tmp_path, PROMISED)
    for name, tensor in TENSORS.items():
        writer.put(name, tensor)
    writer.finish()
    assert [path.name for path in tmp_path.iterdir()] == ["model.safetensors"]
    with safe_open(tmp_path / "model.safetensors", framework="pt") as file:
        assert file.metadata() == {"format": "pt"}


def test_a_tensor_that_never_came_is_named(
    tmp_path: Path, small_shards: Callable[[int], None]
) -> None:
    """No index is written over a hole."""
    small_shards(2 * SIZE)
    writer = ShardWriter(tmp_path, PROMISED)
    for name in ("a", "b", "huge"):
        writer.put(name, TENSORS[name])
    with pytest.raises(ValueError, match=r"promised but never came: \['c', 'd', 'e'\]"):
        writer.finish()
    assert not (tmp_path / INDEX).exists()


@pytest.mark.parametrize(
    "gone",
    [{layer: {"mlp": range(3, 9)} for layer in range(4)}, {1: {"mlp": range(24)}}],
    ids=["native", "uneven"],
)
def test_a_sharded_result_is_the_same_model(
    tiny: Callable[[str], Path],
    tmp_path: Path,
    small_shards: Callable[[int], None],
    gone: Removals,
) -> None:
    """However small the shards are, tensors and logits are those of the single file."""
    (tmp_path / "whole").mkdir()
    whole = Path(applied(tiny("llama"), tmp_path / "whole", gone).out)
    small_shards(20_000)
    out = Path(applied(tiny("llama"), tmp_path, gone).out)

    assert len(list(out.glob("*.safetensors"))) > 3
    expected, found = tensors_in(whole), tensors_in(out)
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    with torch.no_grad():
        ids = random_ids(1, 5)
        assert torch.equal(load_model(out)(ids).logits, load_model(whole)(ids).logits)
