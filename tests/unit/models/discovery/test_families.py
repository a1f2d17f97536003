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

YARN = {
    "rope_type": "yarn",
    "rope_theta": 1e4,
    "factor": 4.0,
    "original_max_position_embeddings": 64,
}


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
    family_of(met_config("cohere"))
    (file,) = empty_cache.iterdir()
    whole = file.read_text()
    file.write_text(damage)
    families._known.clear()

    assert family_of(met_config("cohere")).refused
    assert file.read_text()[:20] == whole[:20]


def test_another_trait_is_proved_anew(empty_cache: Path) -> None:
    """The cache never answers for what it hasn't seen."""
    family_of(met_config("cohere"))
    family_of(met_config("cohere", logit_scale=0.5))

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


@pytest.mark.parametrize(
    "mistake", [{"pad_token_id": 99999}, {"intermediate_size": [24] * 4}], ids=["token", "list"]
)
def test_what_is_wrong_with_one_config_is_not_remembered_of_its_type(
    mistake: dict[str, Any],
) -> None:
    """The next model of the type may be sound."""
    config = met_config("arcee")
    assert family_of(config | mistake).refused is not None

    assert family_of(config).refused is None


@pytest.mark.parametrize(
    ("model_type", "change", "reason"),
    [
        ("internlm3", {}, "builds its models by LlamaForCausalLM, which belongs to another type"),
        ("stablelm", {"qk_layernorm": True}, "its attention is built differently at another size"),
        ("arcee", {"rope_parameters": YARN | {"attention_factor": "x"}}, "a small model of it"),
        ("arcee", {"rope_parameters": YARN | {"attention_factor": [1.0]}}, "a small model of it"),
    ],
)
def test_what_is_odd_in_a_config_ends_in_a_reason(
    model_type: str, change: dict[str, Any], reason: str
) -> None:
    """Never in an error of ours."""
    assert reason in str(family_of(met_config(model_type) | change).refused)


def test_a_dictionary_that_no_class_reads_changes_nothing() -> None:
    """Whatever it says."""
    odd = {"foo": {"partial_rotary_factor": "x"}}

    assert family_of(met_config("arcee") | odd).refused is None


def test_a_description_of_another_type_counts_as_none(empty_cache: Path) -> None:
    """A file under a wrong name is no answer."""
    first = family_of(met_config("cohere"))
    (file,) = empty_cache.iterdir()
    file.write_text(first.model_copy(update={"model_type": "zzz"}).model_dump_json())
    families._known.clear()

    assert family_of(met_config("cohere")).model_type == "cohere"


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

    family_of(met_config("cohere"), progress)

    assert labels == [("proving how cohere is cut", 2, "steps")]


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
