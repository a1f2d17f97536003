"""What a person said about finetuning, laid over a preset; what contradicts itself is refused."""

from typing import Any

import pytest

from globalprune.artifacts.results.finetuning import (
    DistillationSettings,
    FinetuneSettings,
    LoraSettings,
)
from globalprune.cli.finetune_options import ExplicitSettings, choose_finetuning, choose_settings
from globalprune.errors import UsageError
from globalprune.options import FINETUNE_PRESETS


def settings_of(*, teacher: bool = False, **said: Any) -> FinetuneSettings:
    """The settings that these options choose."""
    return choose_settings(ExplicitSettings(**said), has_teacher=teacher)


def test_nothing_said_is_the_founding_default() -> None:
    """LoRA; a teacher adds the distillation's own defaults."""
    assert settings_of() == FinetuneSettings()
    assert settings_of(teacher=True).distillation == DistillationSettings()


@pytest.mark.parametrize("name", FINETUNE_PRESETS)
def test_a_preset_is_taken_as_it_stands(name: str) -> None:
    """None of its numbers is lost to a default."""
    assert settings_of(preset=name) == FINETUNE_PRESETS[name]


def test_what_is_said_beside_a_preset_wins() -> None:
    """Each option by itself: the preset's other numbers stay."""
    found = settings_of(preset="moderate", samples=7, learning_rate=3e-4, lora_alpha=5)
    assert found == FINETUNE_PRESETS["moderate"].model_copy(
        update={"samples": 7, "learning_rate": 3e-4, "lora": LoraSettings(r=16, alpha=5)}
    )


def test_every_plain_option_reaches_the_settings() -> None:
    """None is passed over."""
    said: dict[str, Any] = {
        "samples": 1,
        "seq_len": 2,
        "epochs": 3,
        "learning_rate": 4.0,
        "batch_size": 5,
        "accumulate": 6,
        "seed": 7,
        "recompute": True,
    }
    found = settings_of(**said).model_dump()
    assert {name: found[name] for name in said} == said


def test_targets_are_names_with_commas_between() -> None:
    """With or without spaces."""
    lora = settings_of(lora_targets="q_proj, v_proj", lora_r=None).lora
    assert lora == LoraSettings(targets=("q_proj", "v_proj"))


def test_a_teacher_takes_what_was_said_of_it() -> None:
    """What wasn't said stays the default."""
    found = settings_of(teacher=True, distil_weight=0.25, distil_temperature=2.0)
    assert found.distillation == DistillationSettings(weight=0.25, temperature=2.0)


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"preset": "full"}, "--preset full: is none; there are light, moderate, aggressive"),
        ({"method": "light"}, "--method light: is none; there are lora, full"),
        (
            {"preset": "aggressive", "method": "lora"},
            "--preset aggressive is full finetuning, and --method says lora; leave one of them out",
        ),
        ({"preset": "light", "method": "full"}, "--preset light is lora finetuning, and --method"),
        ({"method": "full", "lora_r": 4}, "--lora-r: full finetuning has no adapters; leave"),
        ({"preset": "aggressive", "lora_dropout": 0.0}, "--lora-dropout: full finetuning has"),
        (
            {"distil_top_k": 4},
            "--distil-top-k: there is no teacher to learn from; say --teacher MODEL",
        ),
        ({"samples": 0}, "--samples 0: input should be greater than or equal to 1"),
        ({"seq_len": 1}, "--seq-len 1: input should be greater than or equal to 2"),
        ({"batch_size": 0}, "--batch-size 0: input should be greater"),
        ({"lora_r": 0}, "--lora-r 0: input should be greater"),
        ({"lora_dropout": 1.0}, "--lora-dropout 1.0: input should be less than 1"),
    ],
)
def test_contradictions_and_impossible_numbers_are_refused(
    said: dict[str, Any], message: str
) -> None:
    """Named by the option that a person can mend."""
    with pytest.raises(UsageError, match=f"^{message}"):
        settings_of(**said)


def test_the_rate_is_named_as_its_option_is() -> None:
    """Which is --lr, not the setting's own name."""
    with pytest.raises(UsageError, match=r"^--lr 0\.0: input should be greater than 0"):
        settings_of(learning_rate=0.0)


def test_a_teachers_part_is_named_as_its_option_is() -> None:
    """--distil-weight and the others."""
    with pytest.raises(UsageError, match=r"^--distil-weight 1\.5: input should be less than or"):
        settings_of(teacher=True, distil_weight=1.5)
    with pytest.raises(UsageError, match=r"^--distil-top-k 0: input should be greater"):
        settings_of(teacher=True, distil_top_k=0)


def test_a_recipe_is_a_method_or_a_preset() -> None:
    """With the options beside it, and text of its own."""
    assert choose_finetuning(None, ExplicitSettings(), data=None, distil=False) is None
    chosen = choose_finetuning("moderate", ExplicitSettings(samples=9), data=["a.txt"], distil=True)
    assert chosen is not None
    assert chosen.settings == FINETUNE_PRESETS["moderate"].model_copy(
        update={"samples": 9, "distillation": DistillationSettings()}
    )
    assert chosen.data == ("a.txt",)
    full = choose_finetuning("full", ExplicitSettings(), data=None, distil=False)
    assert full is not None
    assert (full.settings.method, full.settings.lora, full.data) == ("full", None, ())
    with pytest.raises(
        UsageError, match=r"^heavy: is no way to finetune; there are lora, full, lig"
    ):
        choose_finetuning("heavy", ExplicitSettings(), data=None, distil=False)


@pytest.mark.parametrize(
    ("said", "more", "option"),
    [
        ({"learning_rate": 1e-3}, {}, "--finetune-lr"),
        ({"seq_len": 64}, {}, "--finetune-seq-len"),
        ({"samples": 64}, {}, "--finetune-samples"),
        ({"lora_r": 4, "lora_alpha": None}, {}, "--lora-r"),
        ({}, {"data": ["a.txt"]}, "--finetune-data"),
        ({}, {"distil": True}, "--distil"),
    ],
    ids=["rate", "length", "samples", "rank", "text", "teacher"],
)
def test_companions_do_not_stand_alone(
    said: dict[str, Any], more: dict[str, Any], option: str
) -> None:
    """Who says how to finetune, and not that, has forgotten something."""
    wish: dict[str, Any] = {"data": None, "distil": False} | more
    with pytest.raises(
        UsageError, match=f"^{option}: says how to finetune; say --finetune lora too"
    ):
        choose_finetuning(None, ExplicitSettings(**said), **wish)
