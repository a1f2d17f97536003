"""The three scenarios of the founding guide, by how much of the model was cut."""

from typing import Final

from globalprune.artifacts.results.finetuning import LoraSettings, RecoverySettings
from globalprune.errors import UsageError

PRESETS: Final[dict[str, RecoverySettings]] = {
    "light": RecoverySettings(samples=500, lora=LoraSettings(r=8, alpha=16)),  # below 20 %
    "moderate": RecoverySettings(samples=1000, lora=LoraSettings(r=16, alpha=32)),  # to 30 %
    "aggressive": RecoverySettings(method="full", samples=2000, learning_rate=1e-5, lora=None),
}
METHODS: Final[dict[str, RecoverySettings]] = {
    "lora": PRESETS["light"],  # the founding defaults
    "full": RecoverySettings(method="full", lora=None),
}
RECIPES: Final = METHODS | PRESETS


def recipe_named(name: str) -> RecoverySettings:
    """The settings of a method or a preset; raise `UsageError` for another word."""
    if name not in RECIPES:
        raise UsageError(f"{name}: is no way to finetune; there are {', '.join(RECIPES)}.")
    return RECIPES[name]
