"""A type that no table knows is proved once, and remembered until something changes."""

import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from met_models import met_config

from globalprune.errors import UnsupportedArchitecture
from globalprune.models.discovery import families
from globalprune.models.discovery.families import family_of, proved_adapter


@pytest.fixture(autouse=True)
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Nothing is known, in this process or on disk."""
    monkeypatch.setenv("GLOBALPRUNE_CACHE", str(tmp_path))
    monkeypatch.setattr(families, "_known", {})
    return tmp_path / "families"


def test_a_type_is_proved_once_and_read_from_the_cache_afterwards(
    empty_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also for models of another size; what was proved with which versions is recorded."""
    first = family_of(met_config("arcee"))
    assert len(list(empty_cache.iterdir())) == 1

    def fail(*_: Any) -> None:
        raise AssertionError("it is proved again")

    monkeypatch.setattr(families, "_known", {})
    monkeypatch.setattr(families, "_prove", fail)
    again = family_of(met_config("arcee", hidden_size=64))

    assert again == first
    assert set(first.versions) == {"globalprune", "torch", "transformers"}
    assert proved_adapter(met_config("arcee")).proved_with == first.versions


@pytest.mark.parametrize("damage", ["", "{}", "[1", '{"format": "another"}'])
def test_a_damaged_cache_counts_as_none(empty_cache: Path, damage: str) -> None:
    """It may be deleted, and may be broken, at any time."""
    family_of(met_config("mixtral"))
    (file,) = empty_cache.iterdir()
    whole = file.read_text()
    file.write_text(damage)
    families._known.clear()

    assert family_of(met_config("mixtral")).refused
    assert file.read_text()[:20] == whole[:20]


def test_another_trait_is_proved_anew(empty_cache: Path) -> None:
    """The cache never answers for what it hasn't seen."""
    family_of(met_config("mixtral"))
    family_of(met_config("mixtral", num_local_experts=3))

    assert len(list(empty_cache.iterdir())) == 2


@pytest.mark.parametrize(
    ("model_type", "reason"),
    [
        ("qwen2_moe", "layer 0 has a mixture of experts in place of an MLP"),
        ("cohere2", "attention and MLP stand side by side in its layers"),
        ("lfm2", "layer 0 has no"),
        ("gpt_neox", "its layers are not called model.layers"),
        ("moshi", "sizes stand under other keys"),
    ],
)
def test_what_cannot_be_proved_is_refused_with_the_reason(model_type: str, reason: str) -> None:
    """The message names the type and what stands in the way."""
    with pytest.raises(UnsupportedArchitecture, match=rf"{model_type}.*can't cut: .*{reason}"):
        proved_adapter(met_config(model_type))


def test_a_sublayer_that_fails_is_refused_and_the_other_served() -> None:
    """Helium's heads can't go, its channels can."""
    adapter: Any = proved_adapter(met_config("helium"))

    assert adapter.form.fixed == ("attention",)
    assert "o_proj.weight" in adapter.form.refused["attention"]


def test_progress_names_the_type() -> None:
    """Seconds pass; the reader sees on what."""
    labels = []

    def progress(items: Iterable[Any], *, total: int, label: str, unit: str) -> Iterator[Any]:
        labels.append((label, total, unit))
        yield from items

    family_of(met_config("mixtral"), progress)

    assert labels == [("proving how mixtral is cut", 2, "steps")]


def test_a_known_description_is_read_without_torch() -> None:
    """So that light commands stay light."""
    config = met_config("cohere")
    family_of(config)
    script = (
        "import sys; from globalprune.models.discovery.families import family_of;"
        f"print(family_of({config!r}).refused); sys.exit('torch' in sys.modules)"
    )

    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )

    assert (done.returncode, done.stdout.strip()) == (
        0,
        "attention and MLP stand side by side in its layers",
    ), done.stderr
