"""What a person said about finetuning, laid over a preset."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from globalprune.errors import UsageError

if TYPE_CHECKING:
    from globalprune.artifacts.results.finetuning import FinetuneSettings
    from globalprune.pipeline.options import Recovery


_FINETUNE = "--finetune-"  # how the options of gp apply and gp prune begin


@dataclass(frozen=True)
class RecoveryOptions:
    """Options as they were said; None is one that wasn't."""

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
    lora: dict[str, Any] = field(default_factory=dict)
    distillation: dict[str, Any] = field(default_factory=dict)

    @property
    def plain(self) -> dict[str, Any]:
        """Those that are settings of their own."""
        names = (
            "samples",
            "seq_len",
            "epochs",
            "learning_rate",
            "batch_size",
            "accumulate",
            "seed",
            "recompute",
        )
        return _said({name: getattr(self, name) for name in names})


def choose_settings(
    said: RecoveryOptions, *, has_teacher: bool, prefix: str = "--"
) -> "FinetuneSettings":
    """The preset's settings with what was said instead; raise `UsageError` where that can't be.

    `prefix` is how the command's options for plain settings begin.
    """
    from pydantic import ValidationError

    from globalprune.artifacts.results.finetuning import FinetuneSettings

    base = _base(said).model_dump()
    lora, distillation = _said(said.lora), _said(said.distillation)
    if isinstance(lora.get("targets"), str):
        lora["targets"] = tuple(name.strip() for name in lora["targets"].split(","))
    if lora and base["method"] == "full":
        raise UsageError(
            f"--lora-{next(iter(lora))}: full finetuning has no adapters; leave it out."
        )
    if distillation and not has_teacher:
        name = next(iter(distillation)).replace("_", "-")
        raise UsageError(f"--distil-{name}: there is nobody to learn from; say --teacher MODEL.")
    settings = base | said.plain
    if base["lora"] is not None:
        settings["lora"] = base["lora"] | lora
    settings["distillation"] = distillation if has_teacher else None
    try:
        return FinetuneSettings.model_validate(settings)
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        option = _option([str(part) for part in problem["loc"]], prefix)
        raise UsageError(f"{option} {problem['input']}: {problem['msg'].lower()}.") from error


def _option(path: Sequence[str], prefix: str) -> str:
    """The option that says the setting at this path."""
    names = {"distillation": "distil", "learning_rate": "lr"}
    words = [names.get(part, part).replace("_", "-") for part in path]
    return ("--" if len(words) > 1 else prefix) + "-".join(words)


def choose_recovery(
    recipe: str | None, said: RecoveryOptions, *, data: Sequence[str] | None, distil: bool
) -> "Recovery | None":
    """What `--finetune RECIPE` and its companions ask for; None where it wasn't said.

    Raise `UsageError` for companions that stand alone.
    """
    if recipe is None:
        alone = [_option([name], _FINETUNE) for name in said.plain]
        alone += [f"--lora-{name}" for name in _said(said.lora)]
        alone += [f"{_FINETUNE}data"] if data else []
        alone += ["--distil"] if distil else []
        if alone:
            raise UsageError(f"{alone[0]}: says how to finetune; say --finetune lora too.")
        return None
    from globalprune.finetuning.settings import FINETUNE_PRESETS, settings_named
    from globalprune.pipeline.options import Recovery

    settings_named(recipe)
    said = (
        replace(said, preset=recipe) if recipe in FINETUNE_PRESETS else replace(said, method=recipe)
    )
    settings = choose_settings(said, has_teacher=distil, prefix=_FINETUNE)
    return Recovery(settings, tuple(data or ()))


def _base(said: RecoveryOptions) -> "FinetuneSettings":
    """The settings to begin with."""
    from globalprune.finetuning.settings import FINETUNE_PRESETS, METHODS, settings_named

    if said.preset is not None and said.preset not in FINETUNE_PRESETS:
        raise UsageError(
            f"--preset {said.preset}: is none; there are {', '.join(FINETUNE_PRESETS)}."
        )
    if said.method is not None and said.method not in METHODS:
        raise UsageError(f"--method {said.method}: is none; there are {', '.join(METHODS)}.")
    settings = settings_named(said.preset or said.method or "lora")
    if said.method is not None and settings.method != said.method:
        raise UsageError(
            f"--preset {said.preset} is {settings.method} finetuning, and --method says "
            f"{said.method}; leave one of them out."
        )
    return settings


def _said(options: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}
