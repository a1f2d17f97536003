"""Which families there are, and what is said of the others."""

from typing import Any

import pytest

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
    ("config", "found"),
    [
        ({"model_type": "falcon"}, "model_type 'falcon'"),
        ({"model_type": ["llama"]}, r"model_type \['llama'\]"),
        ({}, "no model_type"),
    ],
    ids=["another family", "no text", "missing"],
)
def test_other_families_are_refused_with_the_list_of_ours(
    config: dict[str, Any], found: str
) -> None:
    """Nobody has to guess what would have worked."""
    with pytest.raises(
        UnsupportedArchitecture, match=rf"{found}.*supported: llama, mistral, .*, mixtral\."
    ):
        adapter_for(config)
