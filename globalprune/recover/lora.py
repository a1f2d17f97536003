"""Low-rank adapters through peft: on which modules, and how they go on.

Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", arXiv 2106.09685.
"""

from collections.abc import Iterator
from typing import Any

from peft import LoraConfig, PeftModel, get_peft_model
from torch import nn

from globalprune.artifacts.results.finetuning import LoraSettings
from globalprune.errors import UsageError
from globalprune.models.quiet import quiet_peft


def add_adapters(model: Any, settings: LoraSettings) -> PeftModel:
    """Put adapters on the linear modules of the layers; everything else is frozen.

    Raise `UsageError` where `settings.targets` names a module that the layers don't have.
    """
    linears = dict(_linears(model))
    there = sorted({n.rpartition(".")[2] for n, module in linears.items() if module.in_features})
    if not there:
        raise UsageError(
            "--method lora: the model has no linear modules in its layers that adapters could go "
            "on; say --method full."
        )
    targets = list(settings.targets or there)
    if unknown := [name for name in targets if name not in there]:
        raise UsageError(
            f"--lora-targets {', '.join(unknown)}: the model's layers have no such linear module; "
            f"they have {', '.join(there)}."
        )
    config = LoraConfig(
        r=settings.r,
        lora_alpha=settings.alpha,
        lora_dropout=settings.dropout,
        target_modules=targets,
        exclude_modules=_hollow(linears) or None,
        task_type="CAUSAL_LM",
    )
    with quiet_peft():
        adapted: PeftModel = get_peft_model(model, config)
    return adapted


def _linears(model: Any) -> Iterator[tuple[str, nn.Linear]]:
    """The linear modules inside the decoder layers, by their whole name.

    Where layers have experts, only those of attention: by the names of MLPs peft takes all experts
    of a layer for one tensor.
    """
    inside = {name: one for name, one in model.named_modules() if ".layers." in name}
    mixed = any(".experts" in name for name in inside)
    for name, module in inside.items():
        if isinstance(module, nn.Linear) and not (mixed and ".mlp." in name):
            yield name, module


def _hollow(linears: dict[str, nn.Linear]) -> list[str]:
    """What an emptied half leaves behind: modules without inputs, whose bias alone is left."""
    return [name for name, module in linears.items() if not module.in_features]
