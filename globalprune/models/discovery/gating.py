"""The input side of an MLP: whether its channels are activation(gate(x)) · up(x), and of what."""

from collections.abc import Iterator, Sequence
from itertools import permutations
from typing import Any

import torch
from torch import nn

from globalprune.models.architecture import GatingModules
from globalprune.models.discovery.groups import LinearRun, run_linears
from globalprune.models.discovery.layer_run import ModuleRun, same

_Activation = tuple[str, torch.Tensor, torch.Tensor]  # name, input and output
_Candidate = tuple[tuple[str, ...], torch.Tensor, torch.Tensor]  # linears, gate(x) and up(x)


def find_gating(run: ModuleRun) -> GatingModules | None:
    """Return gate, up and activation, by their names below the body; None without such a gate."""
    activations: list[_Activation] = []
    handles = [
        module.register_forward_hook(_recorder(activations, name))
        for name, module in run.module.named_modules()
        if name and not any(isinstance(one, nn.Linear) for one in module.modules())
    ]
    try:
        output, linears = run_linears(run)
    finally:
        for handle in handles:
            handle.remove()
    for names, gate, up in _candidates(linears):
        for activation, entered, activated in activations:
            if same(entered, gate) and same(activated * up, output.inputs):
                return GatingModules(names, activation)
    return None


def _candidates(linears: Sequence[LinearRun]) -> Iterator[_Candidate]:
    """Yield every pair of linears as gate and up, and the halves of every single one."""
    for gate, up in permutations(linears, 2):
        yield (gate.name, up.name), gate.output, up.output
    for one in linears:
        gate_rows, up_rows = one.output.chunk(2, dim=-1)
        yield (one.name,), gate_rows, up_rows


def _recorder(activations: list[_Activation], name: str) -> Any:
    def record(_module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        if args and isinstance(output, torch.Tensor):
            activations.append((name, args[0], output))

    return record
