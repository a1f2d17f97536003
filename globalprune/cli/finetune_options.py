"""The settings of finetuning: a preset, and the options of a command that override it."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from globalprune.errors import UsageError

if TYPE_CHECKING:
    from globalprune.artifacts.results.finetuning import FinetuneSettings
    from globalprune.options import FinetuneOptions

_FINETUNE: Final = "--finetune-"  # how the options of gp apply and gp prune begin
_LORA: Final = "lora_"
_DISTILLATION: Final = "distil_"
_OPTION_NAMES: Final = {"distillation": "distil", "learning_rate": "lr"}


@dataclass(frozen=True)
class ExplicitSettings:
    """Settings that a command's options give; None leaves a setting to the preset."""

    method: str | None = None
    preset: str | None = None
    samples: int | None = None
    seq_len: int | None = None
    epochs: int | None = None
    learning_rate: float | None = None
    batch_size: int | None = None
    accumulate: int | None = None
    seed: int | None = None
    recompute: bool | None = None
    lora_r: int | None = None
    lora_alpha: int | None = None
    lora_dropout: float | None = None
    lora_targets: str | None = None  # names with commas between
    distil_weight: float | None = None
    distil_top_k: int | None = None
    distil_temperature: float | None = None

    def of(self, prefix: str) -> dict[str, Any]:
        """Return the given settings whose names begin with `prefix`, by the rest of their names."""
        return {
            name.removeprefix(prefix): value
            for name, value in asdict(self).items()
            if name.startswith(prefix) and value is not None
        }

    @property
    def plain(self) -> dict[str, Any]:
        """The given settings that belong neither to the adapters nor to distillation."""
        others = ("method", "preset", _LORA, _DISTILLATION)
        return {name: value for name, value in self.of("").items() if not name.startswith(others)}


def choose_settings(
    explicit: ExplicitSettings, *, has_teacher: bool, prefix: str = "--"
) -> "FinetuneSettings":
    """Return the preset's settings, overridden by the explicit ones.

    The command's options for plain settings begin with `prefix`. Raise `UsageError` for settings
    that don't fit together.
    """
    from pydantic import ValidationError

    from globalprune.artifacts.results.finetuning import FinetuneSettings

    base = _base(explicit)
    lora, distillation = explicit.of(_LORA), explicit.of(_DISTILLATION)
    if "targets" in lora:
        lora["targets"] = tuple(name.strip() for name in lora["targets"].split(","))
    if lora and base.lora is None:
        raise UsageError(
            f"--lora-{next(iter(lora))}: full finetuning has no adapters; leave it out."
        )
    if distillation and not has_teacher:
        name = next(iter(distillation)).replace("_", "-")
        raise UsageError(
            f"--distil-{name}: there is no teacher to learn from; say --teacher MODEL."
        )
    changes = {
        **explicit.plain,
        "lora": None if base.lora is None else base.lora.model_dump() | lora,
        "distillation": distillation if has_teacher else None,
    }
    try:
        return FinetuneSettings.model_validate(base.model_dump() | changes)
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        option = _option([str(part) for part in problem["loc"]], prefix)
        raise UsageError(f"{option} {problem['input']}: {problem['msg'].lower()}.") from error


def choose_finetuning(
    recipe: str | None, explicit: ExplicitSettings, *, data: Sequence[str] | None, distil: bool
) -> "FinetuneOptions | None":
    """Return the options that `--finetune RECIPE` and those beside it give; None without a recipe.

    Raise `UsageError` for options beside it that come without it.
    """
    if recipe is None:
        alone = [_option([name], _FINETUNE) for name in explicit.plain]
        alone += [f"--lora-{name}" for name in explicit.of(_LORA)]
        alone += [f"{_FINETUNE}data"] if data else []
        alone += ["--distil"] if distil else []
        if alone:
            raise UsageError(f"{alone[0]}: says how to finetune; say --finetune lora too.")
        return None
    from globalprune.options import FINETUNE_PRESETS, FinetuneOptions, finetune_settings

    finetune_settings(recipe)
    if recipe in FINETUNE_PRESETS:
        explicit = replace(explicit, preset=recipe)
    else:
        explicit = replace(explicit, method=recipe)
    settings = choose_settings(explicit, has_teacher=distil, prefix=_FINETUNE)
    return FinetuneOptions(settings, tuple(data or ()))


def _base(explicit: ExplicitSettings) -> "FinetuneSettings":
    """Return the settings of the preset or the method."""
    from globalprune.options import FINETUNE_METHODS, FINETUNE_PRESETS, finetune_settings

    preset, method = explicit.preset, explicit.method
    if preset is not None and preset not in FINETUNE_PRESETS:
        raise UsageError(f"--preset {preset}: is none; there are {', '.join(FINETUNE_PRESETS)}.")
    if method is not None and method not in FINETUNE_METHODS:
        raise UsageError(f"--method {method}: is none; there are {', '.join(FINETUNE_METHODS)}.")
    settings = finetune_settings(preset or method or "lora")
    if method is not None and settings.method != method:
        raise UsageError(
            f"--preset {preset} is {settings.method} finetuning, and --method says {method}; "
            "leave one of them out."
        )
    return settings


def _option(path: Sequence[str], prefix: str) -> str:
    """Return the option that sets the setting at this path."""
    words = [_OPTION_NAMES.get(part, part).replace("_", "-") for part in path]
    return ("--" if len(words) > 1 else prefix) + "-".join(words)
