"""The founding guide's numbers."""

from typing import Any

import pytest

from globalprune.artifacts.results.finetuning import FinetuneSettings, LoraSettings
from globalprune.errors import UsageError
from globalprune.options import finetune_settings

DEFAULT: dict[str, Any] = {
    "method": "lora",
    "samples": 500,
    "seq_len": 512,
    "epochs": 1,
    "learning_rate": 1e-4,
    "batch_size": 4,
    "accumulate": 1,
    "lora": {"r": 8, "alpha": 16, "dropout": 0.05, "targets": None},
    "distillation": None,
}
RECIPES: dict[str, dict[str, Any]] = {
    "lora": {},
    "full": {"method": "full", "lora": None},
    "light": {},
    "moderate": {"samples": 1000, "lora": LoraSettings(r=16, alpha=32).model_dump()},
    "aggressive": {"method": "full", "samples": 2000, "learning_rate": 1e-5, "lora": None},
}


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_holds_the_numbers_that_are_promised(name: str) -> None:
    """Where it says nothing, those of the founding defaults."""
    found = finetune_settings(name).model_dump()
    assert {key: found[key] for key in DEFAULT} == DEFAULT | RECIPES[name]


def test_settings_of_nothing_said_are_the_light_recipe() -> None:
    """One default, wherever it is asked for."""
    assert FinetuneSettings() == finetune_settings("light") == finetune_settings("lora")


def test_another_word_is_refused_with_those_there_are() -> None:
    """A method or a preset."""
    with pytest.raises(
        UsageError,
        match=r"^heavy: is no way to finetune; there are lora, full, light, moderate, aggressive\.",
    ):
        finetune_settings("heavy")
