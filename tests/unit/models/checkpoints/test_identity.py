"""What makes two models the same: all of their files that anything acts on, and nothing else."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from globalprune.errors import CheckpointError
from globalprune.models.checkpoints.identity import identify_model, refuse_changed
from globalprune.models.checkpoints.opening import open_checkpoint
from globalprune.models.checkpoints.weights_fingerprint import weights_fingerprint
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
