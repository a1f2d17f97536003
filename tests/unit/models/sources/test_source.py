"""Where a model is looked for, and what is said when it isn't there."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest

from globalprune.errors import ModelNotFound
from globalprune.models.sources.source import ModelSource, resolve_model

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
