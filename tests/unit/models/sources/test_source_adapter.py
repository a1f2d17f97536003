"""Where the base model of an adapter is looked for, and which ones are refused."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from globalprune.errors import CheckpointError, ModelNotFound
from globalprune.models.sources.source import ModelSource, resolve_model

COMMIT = "0123456789abcdef0123456789abcdef01234567"
Hub = Callable[..., str]


def adapter_on(folder: Path, **config: Any) -> Path:
    """Write the config of an adapter; return its folder."""
    folder.mkdir()
    (folder / "adapter_config.json").write_text(json.dumps(config))
    return folder


def test_an_adapter_stands_for_its_base_model(tmp_path: Path) -> None:
    """It keeps the name that its user wrote, and knows both folders."""
    base = tmp_path / "base"
    base.mkdir()
    (base / "config.json").touch()
    folder = adapter_on(tmp_path / "adapter", base_model_name_or_path=str(base), revision=None)
    assert resolve_model(str(folder)) == ModelSource(str(folder), base, None, adapter=folder)


def test_an_adapter_on_a_hub_model_asks_for_its_revision(
    tmp_path: Path, hub: Callable[[Hub], None]
) -> None:
    """The adapter was trained on that commit and no other."""
    snapshot = tmp_path / COMMIT
    snapshot.mkdir()
    (snapshot / "config.json").touch()
    asked: list[str] = []

    def download(hub_id: str, *, revision: str, **_: Any) -> str:
        asked.extend([hub_id, revision])
        return str(snapshot)

    hub(download)
    folder = adapter_on(tmp_path / "a", base_model_name_or_path="org/model", revision=COMMIT)
    found = resolve_model(str(folder))
    assert asked == ["org/model", COMMIT]
    assert (found.path, found.revision, found.adapter) == (snapshot, COMMIT, folder)


@pytest.mark.parametrize(
    "content",
    [
        "{}",
        "[]",
        "{",
        "[" * 100_000,
        '{"base_model_name_or_path": null}',
        '{"base_model_name_or_path": "m", "revision": 3}',
    ],
)
def test_an_adapter_that_names_no_base_is_refused(tmp_path: Path, content: str) -> None:
    """Whatever its config holds."""
    (tmp_path / "adapter_config.json").write_text(content)
    with pytest.raises(
        (ModelNotFound, CheckpointError),
        match=r"adapter_config\.json(: can't be read|: holds no JSON| names no base model \()",
    ):
        resolve_model(str(tmp_path))


def test_an_adapter_whose_base_is_gone_says_where_it_was(tmp_path: Path) -> None:
    """Folders are moved."""
    folder = adapter_on(tmp_path / "a", base_model_name_or_path=str(tmp_path / "gone"))
    with pytest.raises(
        ModelNotFound,
        match=r"a: is a LoRA adapter, whose base model is not where .* says: .*gone: no such",
    ):
        resolve_model(str(folder))


def test_an_adapter_on_an_adapter_is_refused(tmp_path: Path) -> None:
    """Only one of them would be merged."""
    base = tmp_path / "base"
    base.mkdir()
    (base / "config.json").touch()
    first = adapter_on(tmp_path / "first", base_model_name_or_path=str(base))
    second = adapter_on(tmp_path / "second", base_model_name_or_path=str(first))
    with pytest.raises(
        ModelNotFound, match=r"second: is a LoRA adapter, .*: .*first: is an adapter itself"
    ):
        resolve_model(str(second))


def test_an_adapter_on_itself_is_refused(tmp_path: Path) -> None:
    """And so is every longer circle, since no base may be an adapter."""
    folder = adapter_on(tmp_path / "a", base_model_name_or_path=str(tmp_path / "a"))
    with pytest.raises(ModelNotFound, match=r"a: is a LoRA adapter, .*: .*a: is an adapter itself"):
        resolve_model(str(folder))


def test_an_adapter_beside_a_config_is_the_adapter(tmp_path: Path) -> None:
    """Trainers copy the base's config.json; weights of a whole model make it that model's own."""
    base = tmp_path / "base"
    base.mkdir()
    (base / "config.json").touch()
    folder = adapter_on(tmp_path / "a", base_model_name_or_path=str(base))
    (folder / "config.json").touch()
    assert resolve_model(str(folder)).path == base
    (folder / "model.safetensors").touch()
    found = resolve_model(str(folder))
    assert (found.path, found.adapter) == (folder, folder)


def test_a_pipe_or_a_device_is_no_model(tmp_path: Path) -> None:
    """Reading it would never end."""
    os.mkfifo(tmp_path / "model.gguf")
    for place in (str(tmp_path / "model.gguf"), "/dev/zero"):
        with pytest.raises(ModelNotFound, match=r"is (a named pipe|a device)"):
            resolve_model(place)
    os.mkfifo(tmp_path / "config.json")
    with pytest.raises(CheckpointError, match=r"config\.json: is a named pipe, where a file is"):
        resolve_model(str(tmp_path))


def test_an_adapter_on_a_gguf_file_is_refused(tmp_path: Path) -> None:
    """It was trained on other values than those that are in there."""
    (tmp_path / "base.gguf").touch()
    folder = adapter_on(tmp_path / "a", base_model_name_or_path=str(tmp_path / "base.gguf"))
    with pytest.raises(ModelNotFound, match=r"is an adapter on .*base\.gguf, whose weights are qu"):
        resolve_model(str(folder))
