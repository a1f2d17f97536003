"""Models on the Hub: what is fetched of them, and what each failure means."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import huggingface_hub
import pytest
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from globalprune.errors import ModelNotFound
from globalprune.models.sources.source import resolve_model

COMMIT = "0123456789abcdef0123456789abcdef01234567"
Hub = Callable[..., str]


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


@pytest.mark.parametrize(
    ("text", "asked"),
    [
        ("org/m-GGUF/m.Q4_K_M.gguf", ("org/m-GGUF", "m.Q4_K_M.gguf", None)),
        ("org/m-GGUF@v1/m.gguf", ("org/m-GGUF", "m.gguf", "v1")),
        ("org/m-GGUF/Q8_0/m.GGUF", ("org/m-GGUF", "Q8_0/m.GGUF", None)),
    ],
    ids=["plain", "revision", "folder"],
)
def test_a_gguf_file_on_the_hub_is_fetched_alone(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    text: str,
    asked: tuple[str, str, str | None],
) -> None:
    """Spelled as in the Hub's own file system; its commit is remembered."""

    def download(hub_id: str, file: str, *, revision: str | None) -> str:
        assert (hub_id, file, revision) == asked
        return str(tmp_path / "snapshots" / COMMIT / file)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    source = resolve_model(text)
    assert (source.name, source.revision, source.is_gguf) == (text, COMMIT, True)


def test_a_gguf_file_that_the_hub_model_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    """The model is there, and the message says where its files are listed."""

    def download(*_: Any, **__: Any) -> str:
        raise EntryNotFoundError("404")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    with pytest.raises(ModelNotFound, match=r"no file m\.gguf; its files .*co/org/m/tree/main"):
        resolve_model("org/m/m.gguf")


def test_a_gguf_file_without_a_network() -> None:
    """The real client's own refusal, in words that fit a file."""
    with pytest.raises(
        ModelNotFound, match=r"`hf download org/none m\.gguf`.* give a local file\."
    ):
        resolve_model("org/none/m.gguf")


def test_a_quantisation_tag_is_answered_with_the_spelling() -> None:
    """llama.cpp finds a file by it; here the file is named."""
    with pytest.raises(ModelNotFound, match=r"name the file: org/m-GGUF/FILE\.gguf"):
        resolve_model("org/m-GGUF:Q4_K_M")
