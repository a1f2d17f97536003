"""Subjects for the recipes of others, and what can be seen of a model that was pruned by one."""

from pathlib import Path

import torch
from measuring import windows_of
from peers.subject import Subject, columns, load_subject
from tiny_models import random_ids

from globalprune.statistics.interface import Site, SublayerKey
from globalprune.text.windows import TokenWindows

WINDOWS = 6


def subject_in(folder: Path) -> Subject:
    """A freshly loaded model."""
    return load_subject(str(folder))


def some_windows(length: int = 24, seed: int = 0) -> TokenWindows:
    """Windows to calibrate with."""
    return windows_of([*random_ids(WINDOWS, length, seed=seed)])


def logits_of(subject: Subject, windows: TokenWindows) -> torch.Tensor:
    """What the model says to all windows."""
    with torch.no_grad():
        found: torch.Tensor = subject.model(input_ids=torch.stack(windows.rows)).logits
    return found


def inputs_of(subject: Subject, windows: TokenWindows) -> dict[SublayerKey, torch.Tensor]:
    """What enters every output when the whole model runs, `[tokens, D]`."""
    seen: dict[SublayerKey, torch.Tensor] = {}

    def note(sublayer: SublayerKey, inputs: torch.Tensor) -> None:
        seen[sublayer] = inputs.flatten(0, 1)

    handles = [
        site.linear.register_forward_pre_hook(
            lambda _, args, sublayer=sublayer: note(sublayer, args[0])
        )
        for sublayer, site in subject.outputs.items()
    ]
    logits_of(subject, windows)
    for handle in handles:
        handle.remove()
    return seen


def emptied(subject: Subject) -> dict[SublayerKey, torch.Tensor]:
    """The groups whose columns are all zero, seen from the weights alone."""
    return {sublayer: _zero_groups(site) for sublayer, site in subject.outputs.items()}


def _zero_groups(site: Site) -> torch.Tensor:
    """The groups of one output that give nothing."""
    zero = (site.linear.weight == 0).all(dim=0).reshape(site.groups, -1).all(dim=1)
    assert not site.linear.weight[:, columns(site, zero)].any()
    return zero


def parameters_emptied(subject: Subject) -> int:
    """Their parameters."""
    return sum(
        int(zero.sum()) * subject.cost(sublayer) for sublayer, zero in emptied(subject).items()
    )
