"""Where a model is looked for, and what is said when it isn't there."""

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import huggingface_hub
import pytest
from huggingface_hub.errors import (
    GatedRepoError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from globalprune.errors import ModelNotFound
from globalprune.models.source import ModelSource, resolve_model

COMMIT = "0123456789abcdef0123456789abcdef01234567"
Hub = Callable[..., str]


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Callable[[Hub], None]:
    """Put a function in the place of the Hub's download."""

    def use(download: Hub) -> None:
        monkeypatch.setattr(huggingface_hub, "snapshot_download", download)

    return use


def never(*_: Any, **__: Any) -> str:
    """A Hub that must not be asked."""
    raise AssertionError("the Hub was asked")


def test_a_folder_with_a_config_is_a_model(tmp_path: Path, hub: Callable[[Hub], None]) -> None:
    """A local path is taken as it was written, and has no revision."""
    hub(never)
    (tmp_path / "config.json").touch()
    assert resolve_model(str(tmp_path)) == ModelSource(str(tmp_path), tmp_path)


def test_an_existing_local_path_wins_over_the_hub(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hub: Callable[[Hub], None]
) -> None:
    """`models/tiny` could be a Hub id; here it is a folder."""
    hub(never)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "models" / "tiny").mkdir(parents=True)
    (tmp_path / "models" / "tiny" / "config.json").touch()
    assert resolve_model("models/tiny").path == Path("models/tiny")


def test_a_gguf_file_is_a_model(tmp_path: Path) -> None:
    """The ending decides, in whatever case."""
    file = tmp_path / "model.GGUF"
    file.touch()
    assert resolve_model(str(file)).is_gguf


@pytest.mark.parametrize("text", ["./nowhere", "/nowhere/at/all", "~/no-such", "no.gguf", "a b"])
def test_what_can_only_be_a_path_is_never_looked_for_on_the_hub(
    text: str, hub: Callable[[Hub], None]
) -> None:
    """A mistyped path is answered at once."""
    hub(never)
    with pytest.raises(ModelNotFound, match="no such file or folder; name a folder with config"):
        resolve_model(text)


def test_a_folder_of_gguf_files_is_answered_with_their_names(tmp_path: Path) -> None:
    """The message says which path would have worked."""
    (tmp_path / "small.gguf").touch()
    with pytest.raises(ModelNotFound, match=r"no config\.json, but small\.gguf; name the file"):
        resolve_model(str(tmp_path))


def test_other_folders_and_files_are_refused(tmp_path: Path) -> None:
    """An empty folder and a stray file are no models."""
    with pytest.raises(ModelNotFound, match=r"the folder has no config\.json"):
        resolve_model(str(tmp_path))
    (tmp_path / "weights.bin").touch()
    with pytest.raises(ModelNotFound, match=r"is a file, but no \.gguf"):
        resolve_model(str(tmp_path / "weights.bin"))


def test_a_hub_id_is_fetched_without_pickles_and_remembers_its_commit(
    tmp_path: Path, hub: Callable[[Hub], None]
) -> None:
    """The branch that was asked for may move; the commit doesn't."""
    asked: dict[str, Any] = {}

    def download(hub_id: str, **settings: Any) -> str:
        asked.update(settings, id=hub_id)
        folder = tmp_path / "snapshots" / COMMIT
        folder.mkdir(parents=True)
        (folder / "config.json").touch()
        return str(folder)

    hub(download)
    source = resolve_model("org/model@main")
    assert (source.name, source.revision) == ("org/model@main", COMMIT)
    assert (asked["id"], asked["revision"]) == ("org/model", "main")
    assert "*.safetensors" in asked["allow_patterns"]
    assert not any("bin" in pattern for pattern in asked["allow_patterns"])


def failure(kind: type[Exception], message: str = "refused") -> Exception:
    """An error as the Hub's client raises it."""
    response = SimpleNamespace(headers={}, request=None, status_code=404)
    build: Any = kind
    error: Exception = build(message, response=response)
    return error


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (failure(GatedRepoError), r"gated; accept its terms at https://huggingface\.co/org/model"),
        (failure(RepositoryNotFoundError), "no local path, and the Hub has no such public model"),
        (failure(RevisionNotFoundError), "the Hub model has no revision 'v9'"),
        (ConnectionError("no route\nto host"), r"can't be fetched from the Hub \(no route\); down"),
    ],
    ids=["gated", "unknown", "revision", "network"],
)
def test_each_failure_of_the_hub_says_what_to_do(
    error: Exception, text: str, hub: Callable[[Hub], None]
) -> None:
    """No error of the client reaches the user as it is."""

    def download(*_: Any, **__: Any) -> str:
        raise error

    hub(download)
    with pytest.raises(ModelNotFound, match=text):
        resolve_model("org/model@v9")


def test_without_a_network_the_message_names_the_two_ways_out() -> None:
    """The tests run offline, so this is the real client's own refusal."""
    with pytest.raises(ModelNotFound, match=r"can't be reached; download it .* or give a folder\."):
        resolve_model("globalprune/no-such-model")


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


@pytest.mark.parametrize("content", ["{}", "[]", "{", '{"base_model_name_or_path": null}'])
def test_an_adapter_that_names_no_base_is_refused(tmp_path: Path, content: str) -> None:
    """Whatever its config holds."""
    (tmp_path / "adapter_config.json").write_text(content)
    with pytest.raises(
        ModelNotFound, match=r"its adapter_config\.json names no base model \(.*\);"
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
        ModelNotFound, match=r"second: is an adapter on .*first, which is an adapter"
    ):
        resolve_model(str(second))


def test_an_adapter_on_a_gguf_file_is_refused(tmp_path: Path) -> None:
    """It was trained on other values than those that are in there."""
    (tmp_path / "base.gguf").touch()
    folder = adapter_on(tmp_path / "a", base_model_name_or_path=str(tmp_path / "base.gguf"))
    with pytest.raises(ModelNotFound, match=r"is an adapter on .*base\.gguf, whose weights are qu"):
        resolve_model(str(folder))
