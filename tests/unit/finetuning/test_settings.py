"""The founding guide's numbers."""

from typing import Any

import pytest
import torch

from globalprune.artifacts.results.finetuning import FinetuneSettings, LoraSettings
from globalprune.errors import UsageError
from globalprune.finetuning.settings import choose_precision, settings_named

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
    found = settings_named(name).model_dump()
    assert {key: found[key] for key in DEFAULT} == DEFAULT | RECIPES[name]


def test_settings_of_nothing_said_are_the_light_recipe() -> None:
    """One default, wherever it is asked for."""
    assert FinetuneSettings() == settings_named("light") == settings_named("lora")


def test_another_word_is_refused_with_those_there_are() -> None:
    """A method or a preset."""
    with pytest.raises(
        UsageError,
        match=r"^heavy: is no way to finetune; there are lora, full, light, moderate, aggressive\.",
    ):
        settings_named("heavy")


@pytest.mark.parametrize(
    ("dtype", "method", "weights", "frozen"),
    [
        (None, "lora", torch.float32, torch.float32),
        ("bfloat16", "lora", torch.bfloat16, torch.bfloat16),
        ("bfloat16", "full", torch.float32, torch.bfloat16),
    ],
    ids=["said nothing", "lora", "full"],
)
def test_weights_that_are_trained_are_float32(
    dtype: str | None, method: str, weights: torch.dtype, frozen: torch.dtype
) -> None:
    """Frozen ones may be as short as the arithmetic; a teacher is always frozen."""
    chosen = choose_precision("cpu", dtype, method)  # type: ignore[arg-type]
    assert (chosen.weights, chosen.frozen, chosen.on_cpu) == (weights, frozen, True)
    assert chosen.name == (dtype or "float32")


@pytest.mark.parametrize(
    ("device", "dtype", "message"),
    [
        ("cuda:2", None, r"--device cuda:2: finetuning takes cpu or cuda; .*_DEVICES=2, and use"),
        ("mps", None, r"--device mps: finetuning takes cpu or cuda"),
        ("cpu", "float16", r"--dtype float16: can't be trained in on a cpu; say float32"),
        ("cpu", "int8", r"--dtype int8: is not a precision"),
    ],
)
def test_what_cannot_be_trained_in_is_refused(device: str, dtype: str | None, message: str) -> None:
    """With what to say instead."""
    with pytest.raises(UsageError, match=f"^{message}"):
        choose_precision(device, dtype, "lora")
