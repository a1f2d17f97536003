"""What makes two models the same: all of their files that anything acts on, and nothing else."""

import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from globalprune.errors import CheckpointError, UsageError
from globalprune.models.checkpoints import identity
from globalprune.models.checkpoints.identity import (
    cache_folder,
    file_digests,
    identify_model,
    refuse_changed,
    weights_fingerprint,
)
from globalprune.models.checkpoints.open import open_checkpoint
from globalprune.models.sources.source import ModelSource, resolve_model

Tiny = Callable[[str], Path]


def fill(path: Path, content: str) -> None:
    """Write a file, and the folder above it."""
    path.parent.mkdir()
    path.write_text(content)


def change(path: Path, **settings: object) -> None:
    """Set keys of a JSON file, which is made if it isn't there."""
    content = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps(content | settings))


def change_unsampled_rows(folder: Path) -> None:
    """Change what the sampled fingerprint doesn't see."""
    weights = load_file(folder / "model.safetensors")
    name = next(name for name, tensor in weights.items() if tensor.nbytes > 65_536)
    before = weights_fingerprint(open_checkpoint(resolve_model(str(folder))))
    for row in range(len(weights[name])):
        kept = weights[name][row].clone()
        weights[name][row] = 0
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
        if weights_fingerprint(open_checkpoint(resolve_model(str(folder)))) == before:
            return
        weights[name][row] = kept
    raise AssertionError("every row is sampled")


CHANGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "config": (lambda folder: change(folder / "config.json", rms_norm_eps=0.5), "config.json"),
    "generation config": (
        lambda folder: change(folder / "generation_config.json", eos_token_id=7),
        "generation_config.json",
    ),
    "tokenizer": (lambda folder: change(folder / "tokenizer.json", more=1), "tokenizer.json"),
    "tokenizer of its own": (
        lambda folder: (folder / "tekken.json").write_text("{}"),
        "tekken.json",
    ),
    "chat template": (
        lambda folder: (folder / "chat_template.jinja").write_text("{{ x }}"),
        "chat_template.jinja",
    ),
    "named template": (
        lambda folder: fill(folder / "additional_chat_templates" / "tools.jinja", "{{ x }}"),
        "additional_chat_templates/tools.jinja",
    ),
    "adapter beside the weights": (
        lambda folder: change(folder / "adapter_config.json", r=8),
        "adapter_config.json",
    ),
    "unsampled rows": (change_unsampled_rows, "model.safetensors"),
}


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """Give a model with a tensor that is too large to be sampled whole."""
    from tiny_models import save_tiny

    return save_tiny(tmp_path / "model", "llama", hidden_size=128, intermediate_size=256)


def test_every_file_that_decides_something_counts_by_its_name(model: Path, tmp_path: Path) -> None:
    """A copy is the same model; a change makes it another, and only that file is named."""
    before = identify_model(resolve_model(str(model)))
    for kind, (edit, name) in CHANGES.items():
        folder = Path(shutil.copytree(model, tmp_path / kind))
        assert identify_model(resolve_model(str(folder))).digest == before.digest
        edit(folder)
        after = identify_model(resolve_model(str(folder)))
        assert after.digest != before.digest
        differing = {
            file
            for file in before.files.keys() | after.files.keys()
            if before.files.get(file) != after.files.get(file)
        }
        assert differing == {name}, kind


def test_what_is_for_people_does_not_count(model: Path) -> None:
    """Nor does the layout of a config, nor weights that nobody reads here."""
    before = identify_model(resolve_model(str(model)))
    for name in ("README.md", "LICENSE", "pytorch_model.bin", ".gitattributes", "run.log"):
        (model / name).write_text("anything")
    (model / "globalprune").mkdir()
    (model / "globalprune" / "metrics.json").write_text("{}")
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps(config, indent=7))
    assert identify_model(resolve_model(str(model))).digest == before.digest


def test_links_are_followed_and_shards_elsewhere_found(model: Path, tmp_path: Path) -> None:
    """As in the Hub's cache, where every file is a link to its content."""
    folder = tmp_path / "snapshot"
    folder.mkdir()
    for path in model.iterdir():
        (folder / path.name).symlink_to(path)
    before = identify_model(resolve_model(str(folder)))
    assert before.digest == identify_model(resolve_model(str(model))).digest
    shard = tmp_path / "snapshot" / "parts" / "one.safetensors"
    shard.parent.mkdir()
    shard.write_bytes(b"weights")
    change(folder / "model.safetensors.index.json", weight_map={"a": "parts/one.safetensors"})
    found = identify_model(resolve_model(str(folder)))
    assert "parts/one.safetensors" in found.files
    shard.write_bytes(b"Weights")
    assert identify_model(resolve_model(str(folder))).digest != found.digest


def test_an_adapter_counts_with_its_base_and_a_gguf_file_alone(model: Path, tmp_path: Path) -> None:
    """Either may change."""
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    change(adapter / "adapter_config.json", lora_alpha=8)
    (adapter / "adapter_model.safetensors").write_bytes(b"factors")
    source = ModelSource("a", model, adapter=adapter)
    digests = [identify_model(source).digest]
    change(adapter / "adapter_config.json", lora_alpha=16)
    digests.append(identify_model(source).digest)
    (adapter / "adapter_model.safetensors").write_bytes(b"Factors")
    digests.append(identify_model(source).digest)
    change(model / "config.json", rms_norm_eps=0.5)
    digests.append(identify_model(source).digest)
    gguf = tmp_path / "m.gguf"
    for content in (b"one", b"two"):
        gguf.write_bytes(content)
        digests.append(identify_model(ModelSource("g", gguf)).digest)
    assert len(set(digests)) == 6


def test_a_model_that_changes_meanwhile_is_refused(model: Path) -> None:
    """What is made of it would be of two models."""
    source = resolve_model(str(model))
    before = identify_model(source).files
    refuse_changed(source, before)
    change(model / "config.json", rms_norm_eps=0.5)
    with pytest.raises(
        CheckpointError, match=r"changed while it was read \(config\.json\), so that"
    ):
        refuse_changed(source, before)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give an empty cache, in which every file counts as large."""
    monkeypatch.setenv("GLOBALPRUNE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(identity, "CACHED_SIZE", 1)
    monkeypatch.setattr(identity, "_digests", {})
    return tmp_path / "cache" / "digests"


class Reads:
    """Counts the blocks that are read."""

    def __init__(self) -> None:
        self.blocks = 0

    def __call__(
        self, items: Iterable[object], *, total: int, label: str, unit: str
    ) -> Iterator[object]:
        """Yield them all."""
        assert label == "reading weights"
        assert unit == "blocks"
        found = list(items)
        assert len(found) == total
        self.blocks += total
        yield from found


def read(path: Path, reads: Reads) -> str:
    """Take one digest as another process would, that remembers nothing."""
    identity._digests.clear()
    (digest,) = file_digests([path], reads)  # type: ignore[arg-type]
    assert digest == "sha256:" + hashlib.sha256(path.read_bytes()).hexdigest()
    return digest


def written(path: Path, content: bytes, monkeypatch: pytest.MonkeyPatch, age: float = 60) -> Path:
    """Write a file, and let so many seconds pass."""
    path.write_bytes(content)
    now = path.stat().st_mtime_ns + int(age * 1e9)
    monkeypatch.setattr(time, "time_ns", lambda: now)
    return path


def test_a_large_file_is_read_once(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In blocks, each told; a cache that was deleted or damaged is made anew."""
    monkeypatch.setattr(identity, "_BLOCK_BYTES", 4)
    path, reads = written(tmp_path / "w", b"0123456789", monkeypatch), Reads()
    for _ in range(2):
        read(path, reads)
    assert reads.blocks == 3
    (kept,) = cache.iterdir()
    assert str(path) in kept.read_text()
    for damage in ("", "[]", '{"digest": 3}', kept.read_text().replace('"size": 10', '"size": 9')):
        kept.write_text(damage)
        reads = Reads()
        read(path, reads)
        assert reads.blocks == 3


def test_a_change_is_seen_whatever_its_size_and_time(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another file of the same name, size and time; and one written a moment ago is not kept."""
    path, reads = written(tmp_path / "w", b"one", monkeypatch), Reads()
    times = path.stat()
    digests = {read(path, reads)}
    written(tmp_path / "other", b"two", monkeypatch).replace(path)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    digests.add(read(path, reads))
    assert len(digests) == 2
    kept = len(list(cache.iterdir()))
    read(written(tmp_path / "new", b"new", monkeypatch, age=1), reads)
    assert len(list(cache.iterdir())) == kept


def test_without_a_cache_all_is_read(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A place that can't be written is no error; small files are never kept."""
    (tmp_path / "cache").write_text("a file in the way")
    read(written(tmp_path / "w", b"one", monkeypatch), Reads())
    (tmp_path / "cache").unlink()
    monkeypatch.setattr(identity, "CACHED_SIZE", 2**20)
    identity._digests.clear()
    assert file_digests([tmp_path / "w"]) == ["sha256:" + hashlib.sha256(b"one").hexdigest()]
    assert not cache.exists()
    with pytest.raises(UsageError, match=r"gone: can't be read \(No such file"):
        file_digests([tmp_path / "gone"])


def test_the_cache_lies_where_caches_lie(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Or where the variable says."""
    monkeypatch.delenv("GLOBALPRUNE_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert cache_folder() == Path.home() / ".cache" / "globalprune"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "globalprune"
