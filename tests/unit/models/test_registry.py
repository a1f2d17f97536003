"""Which families there are, and what is said of the others."""

from typing import Any

import pytest
from met_models import met_config

from globalprune.errors import UnsupportedArchitecture
from globalprune.models.registry import ADAPTERS, adapter_for


def test_every_family_has_the_adapter_of_its_name() -> None:
    """The table can't name one family and serve another."""
    assert set(ADAPTERS) == {
        "llama", "mistral", "qwen2", "qwen3", "phi3", "olmo2", "smollm3", "granite", "gemma2",
        "gemma3_text",
        "qwen3_moe",
        "mixtral",
    }  # fmt: skip
    for model_type in ADAPTERS:
        assert adapter_for({"model_type": model_type}).name == model_type


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"model_type": "falcon"}, "model_type 'falcon', which globalprune can't cut: its layers"),
        ({"model_type": ["llama"]}, r"model_type \['llama'\], which globalprune can't cut"),
        ({}, "no model_type, which globalprune can't cut"),
    ],
    ids=["another family", "no text", "missing"],
)
def test_other_families_are_refused_with_the_reason(config: dict[str, Any], message: str) -> None:
    """Nobody has to guess what stands in the way."""
    with pytest.raises(UnsupportedArchitecture, match=message):
        adapter_for(config)


def test_a_type_that_is_in_no_table_is_served_if_it_can_be_proved() -> None:
    """It needs no line of code."""
    assert adapter_for(met_config("helium")).name == "helium"
