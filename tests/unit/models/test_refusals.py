"""What is refused before anything is fetched or loaded."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest

from globalprune.errors import CheckpointError, UnsupportedArchitecture
from globalprune.models.prepared_model import PreparedModel
from globalprune.models.refusals import refuse_unprunable, refuse_unreadable

PLACE = "org/model@main"
GPTQ = {"quantization_config": {"quant_method": "gptq"}}


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[dict[str, Any]], list[str]]:
    """Let the Hub hold a config.json alone; return the list of what was asked for."""

    def holding(config: dict[str, Any]) -> list[str]:
        (tmp_path / "config.json").write_text(json.dumps(config), "utf-8")
        asked: list[str] = []

        def download(hub_id: str, file: str, *, revision: str | None) -> str:
            asked.append(f"{hub_id}@{revision}/{file}")
            return str(tmp_path / file)

        monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
        monkeypatch.setattr(huggingface_hub, "snapshot_download", None)
        return asked

    return holding


def test_of_a_hub_model_only_the_config_is_fetched(
    hub: Callable[[dict[str, Any]], list[str]],
) -> None:
    """Weights of many gigabytes are not downloaded to be refused."""
    asked = hub({"model_type": "gpt2"})
    with pytest.raises(UnsupportedArchitecture, match="'gpt2', which globalprune can't cut"):
        refuse_unprunable(PreparedModel(PLACE))
    refuse_unreadable(PreparedModel(PLACE))
    assert asked == ["org/model@main/config.json"] * 2


@pytest.mark.parametrize("refuse", [refuse_unprunable, refuse_unreadable])
def test_a_quantised_hub_model_is_refused_by_its_config(
    hub: Callable[[dict[str, Any]], list[str]], refuse: Callable[[PreparedModel], None]
) -> None:
    """Whatever is to be done with it."""
    hub({"model_type": "llama", **GPTQ})
    with pytest.raises(CheckpointError, match="method gptq"):
        refuse(PreparedModel(PLACE))


def test_a_file_on_the_hub_is_not_fetched_to_be_looked_at(
    hub: Callable[[dict[str, Any]], list[str]],
) -> None:
    """Its head tells, but comes with all of it."""
    asked = hub({})
    refuse_unprunable(PreparedModel("org/model-GGUF/small.gguf"))
    refuse_unreadable(PreparedModel("org/model-GGUF/small.gguf"))
    assert not asked
