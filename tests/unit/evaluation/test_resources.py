"""What a model costs."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from applying import applied
from tiny_models import random_ids, tiny_config, tiny_model

from globalprune.evaluation import resources
from globalprune.evaluation.resources import (
    MemoryMeter,
    cache_bytes_per_token,
    count_parameters,
    source_weight_bytes,
)
from globalprune.models.checkpoints.open import open_checkpoint
from globalprune.models.loading import load_model
from globalprune.models.sources.source import resolve_model

Tiny = Callable[[str], Path]
INDEX = "model.safetensors.index.json"
MIB = 1 << 20


@pytest.mark.parametrize("family", ["llama", "llama_tied_bias"])
def test_parameters_are_counted_as_apply_counts_them(tiny: Tiny, family: str) -> None:
    """A tied head once: both tables must show the same number for the same model."""
    stored = open_checkpoint(resolve_model(str(tiny(family)))).parameters
    assert count_parameters(tiny_model(family)) == stored


def test_bytes_are_those_of_all_shards(tiny: Tiny, tmp_path: Path) -> None:
    """And of nothing else that lies in the folder."""
    shutil.copy(tiny("llama") / "config.json", tmp_path)
    sizes = {"one.safetensors": 100, "two.safetensors": 30, "adapter.safetensors": 7000}
    for name, size in sizes.items():
        (tmp_path / name).write_bytes(bytes(size))
    where = {"a": "one.safetensors", "b": "two.safetensors", "c": "one.safetensors"}
    (tmp_path / INDEX).write_text(json.dumps({"weight_map": where}))
    assert source_weight_bytes(resolve_model(str(tmp_path))) == 130


def test_the_single_file_wins_over_an_index_as_when_loading(tiny: Tiny, tmp_path: Path) -> None:
    """An index that was left behind names files that nobody reads."""
    folder = Path(shutil.copytree(tiny("llama"), tmp_path / "model"))
    expected = source_weight_bytes(resolve_model(str(folder)))
    (folder / "old.safetensors").write_bytes(b"old")
    (folder / INDEX).write_text(json.dumps({"weight_map": {"a": "old.safetensors"}}))
    assert expected == (folder / "model.safetensors").stat().st_size
    assert source_weight_bytes(resolve_model(str(folder))) == expected


@pytest.mark.parametrize("family", ["llama", "llama_one_kv"])
def test_a_token_takes_its_keys_and_values(family: str) -> None:
    """Two tensors in each of four layers, eight numbers a head, four bytes each."""
    heads = tiny_config(family).num_key_value_heads
    found = cache_bytes_per_token(tiny_model(family), random_ids(1, 11)[0])
    assert found == 2 * 4 * heads * 8 * 4
    sublayer = cache_bytes_per_token(tiny_model(family).bfloat16(), random_ids(1, 11)[0])
    assert sublayer == 2 * 4 * heads * 8 * 2


@pytest.mark.parametrize("tokens", [5, 40])
def test_a_layer_with_a_window_holds_no_more_than_that(
    monkeypatch: pytest.MonkeyPatch, tokens: int
) -> None:
    """Of a context of 32 tokens two layers hold 8, however few tokens ran through."""
    monkeypatch.setattr(resources, "CONTEXT", 32)
    found = cache_bytes_per_token(tiny_model("gemma2"), random_ids(1, tokens)[0])
    assert found == 2 * 4 * 8 * 4 * (2 + 2 / 4)


def test_what_was_cut_takes_no_cache(tiny: Tiny, tmp_path: Path) -> None:
    """Each key/value head that is gone from a layer saves its share."""
    out = applied(tiny("llama"), tmp_path, {0: {"attention": [0, 2]}, 2: {"attention": [1]}})
    left = cache_bytes_per_token(load_model(out.out), random_ids(1, 11)[0])
    assert left == 2 * (2 + 4 + 3 + 4) * 8 * 4


@pytest.mark.skipif(
    not Path("/proc/self/clear_refs").exists(), reason="only Linux tells a peak that can be reset"
)
def test_memory_is_the_peak_since_the_beginning() -> None:
    """What was held before doesn't count, and what was given back meanwhile does."""
    held = torch.ones(64 * MIB // 4)
    meter = MemoryMeter("cpu")
    passing = torch.ones(48 * MIB // 4)
    del passing
    added = meter.added_bytes()
    assert added is not None
    assert 40 * MIB < added < 60 * MIB
    assert len(held)


def test_memory_that_can_not_be_measured_is_none(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """On a system without such files there is no guess, and no error."""
    monkeypatch.setattr(resources, "_CLEAR_REFS", tmp_path / "no" / "such" / "file")
    monkeypatch.setattr(resources, "_STATUS", tmp_path / "no" / "such" / "file")
    assert MemoryMeter("cpu").added_bytes() is None
