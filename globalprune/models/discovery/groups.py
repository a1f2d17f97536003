"""The finest groups of one sublayer that can go without changing the others, and an MLP's gate.

Every input of a sublayer's output projection is followed back: which entries of which parameters
does it depend on? Inputs that share an entry that not all use belong together; what all use belongs
to no group. https://arxiv.org/abs/2301.12900 finds groups by tracing dependencies of modules; here
each single entry tells. A gate shows in the values: activation(gate(x)) · up(x) enters the output.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise, permutations
from typing import Any, Final

import torch
from torch import nn

from globalprune.errors import UnsupportedArchitecture
from globalprune.models.architecture import GatingModules
from globalprune.models.discovery.layer_run import ModuleRun, same

_MATRIX: Final = 2  # dimensions
_FEWEST: Final = 2  # groups: with one, nothing shows where it ends

Used = dict[str, torch.Tensor]  # by parameter: bool [inputs or groups, entries]
_Activation = tuple[str, torch.Tensor, torch.Tensor]  # name, input and output
_Candidate = tuple[tuple[str, ...], torch.Tensor, torch.Tensor]  # linears, gate(x) and up(x)


@dataclass(frozen=True)
class TensorSlices:
    """Every group owns slices of a tensor along `dim`: in each block, so many indices."""

    dim: int
    widths: tuple[int, ...]


@dataclass(frozen=True)
class SublayerGroups:
    """The groups of a sublayer; all tensors by their names below its body."""

    output: str  # the linear module whose inputs are the groups'
    count: int
    slices: Mapping[str, TensorSlices]
    shared: tuple[str, ...]  # tensors that every group uses


@dataclass(frozen=True, eq=False)
class LinearRun:
    """A linear module of a sublayer, by its name below the body, as it ran."""

    name: str
    inputs: torch.Tensor
    output: torch.Tensor


def find_groups(run: ModuleRun) -> SublayerGroups:
    """Find the groups of the sublayer whose body `run` is.

    Raise `UnsupportedArchitecture` with the reason where there are none below the whole sublayer.
    """
    parameters = dict(run.module.named_parameters())
    output, linears = run_linears(run)
    weight, bias = f"{output.name}.weight", f"{output.name}.bias"
    traced = {n: p for n, p in parameters.items() if n not in {weight, bias}}
    used = _used_entries(output.inputs, traced)
    members = _connected(used, traced)
    by_group = {name: _by_group(own, members) for name, own in used.items()}
    slices = {weight: _slices_of(weight, _one_hot(members), parameters[weight].shape)}
    shared = []
    for name, own in by_group.items():
        exclusive = own & ~own.all(dim=0)
        if exclusive.any():
            slices[name] = _slices_of(name, exclusive, parameters[name].shape)
        elif own.any():
            shared.append(name)
    _refuse_coupled(members, slices, shared, traced)
    _refuse_unused([one.name for one in linears], slices, shared)
    return SublayerGroups(output.name, len(members), slices, tuple(shared))


def find_gating(run: ModuleRun) -> GatingModules | None:
    """Return gate, up and activation, by their names below the body; None without such a gate."""
    activations: list[_Activation] = []
    handles = [
        module.register_forward_hook(_activation_recorder(activations, name))
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


def run_linears(run: ModuleRun) -> tuple[LinearRun, list[LinearRun]]:
    """Run a body with gradients on random numbers; return its output projection and the others.

    On random numbers no channel of an activation such as ReLU stays shut. Raise
    `UnsupportedArchitecture` where no linear layer makes what the body gives back.
    """
    linears: list[LinearRun] = []
    handles = [
        module.register_forward_hook(_recorder(linears, name))
        for name, module in run.module.named_modules()
        if isinstance(module, nn.Linear)
    ]
    try:
        with torch.enable_grad():
            made = run.replayed()
    finally:
        for handle in handles:
            handle.remove()
    outputs = [one for one in linears if same(one.output.detach(), made.detach())]
    if len(outputs) != 1:
        raise UnsupportedArchitecture("what it adds is not the output of one linear layer")
    return outputs[0], [one for one in linears if one is not outputs[0]]


def _recorder(linears: list[LinearRun], name: str) -> Any:
    def record(_module: nn.Module, args: tuple[Any, ...], output: torch.Tensor) -> None:
        linears.append(LinearRun(name, args[0], output))

    return record


def _used_entries(inputs: torch.Tensor, parameters: Mapping[str, nn.Parameter]) -> Used:
    """Return which entries of each parameter every input of `[B, T, n]` depends on."""
    weights = torch.randn(inputs.shape[:-1], generator=torch.Generator().manual_seed(1)).to(inputs)
    rows: dict[str, list[torch.Tensor]] = {name: [] for name in parameters}
    for column in range(inputs.shape[-1]):
        gradients = torch.autograd.grad(
            (weights * inputs[..., column]).sum(),
            list(parameters.values()),
            retain_graph=True,
            allow_unused=True,
        )
        for (name, parameter), gradient in zip(parameters.items(), gradients, strict=True):
            empty = torch.zeros(parameter.numel(), dtype=torch.bool)
            rows[name].append(empty if gradient is None else gradient.flatten() != 0)
    return {name: torch.stack(own) for name, own in rows.items()}


def _connected(used: Used, parameters: Mapping[str, nn.Parameter]) -> list[list[int]]:
    """Join inputs that share entries, matrices first: a vector may be used by all groups."""
    count = len(next(iter(used.values()))) if used else 0
    linked = torch.eye(count, dtype=torch.bool)
    for name in sorted(used, key=lambda name: parameters[name].dim() < _MATRIX):
        groups = _components(linked)
        own = used[name]
        partial = own.any(dim=0) & ~_by_group(own, groups).all(dim=0)
        entries = own[:, partial].double()
        linked |= entries @ entries.T > 0
    return _components(linked)


def _components(linked: torch.Tensor) -> list[list[int]]:
    """Return the connected components of a symmetric relation `[n, n]`, by their first member."""
    reach = linked.clone()
    for _ in range(len(linked).bit_length()):
        reach = (reach.double() @ reach.double()) > 0
    groups: dict[int, list[int]] = {}
    for index, row in enumerate(reach):
        groups.setdefault(int(row.nonzero()[0]), []).append(index)
    return list(groups.values())


def _by_group(used: torch.Tensor, members: Sequence[Sequence[int]]) -> torch.Tensor:
    """Return which entries each group uses, `[groups, entries]`."""
    return torch.stack([used[list(own)].any(dim=0) for own in members])


def _one_hot(members: Sequence[Sequence[int]]) -> torch.Tensor:
    """Return which columns of a one-row weight each group owns."""
    columns = torch.zeros(len(members), sum(map(len, members)), dtype=torch.bool)
    for group, own in enumerate(members):
        columns[group, list(own)] = True
    return columns


def _slices_of(name: str, owned: torch.Tensor, shape: torch.Size) -> TensorSlices:
    """Describe entries `[groups, entries]` as slices along one dimension, in blocks.

    Raise `UnsupportedArchitecture` where they are none. For the output weight `owned` is
    `[groups, columns]`.
    """
    groups = len(owned)
    is_output = owned.shape[1] != shape.numel()
    for dim in (1,) if is_output else range(len(shape)):
        indices = owned if is_output else _along(owned.view(groups, *shape), dim)
        if indices is None:
            continue
        widths = _widths(indices)
        if widths is not None:
            return TensorSlices(dim, widths)
    raise UnsupportedArchitecture(f"what a group owns of {name} are no slices of equal size")


def _along(owned: torch.Tensor, dim: int) -> torch.Tensor | None:
    """Return the indices along `dim` that each group owns wholly, or None if it owns parts."""
    flat = owned.movedim(dim + 1, 1).flatten(2) if owned.dim() > _MATRIX else owned[..., None]
    some, whole = flat.any(dim=2), flat.all(dim=2)
    return whole if torch.equal(some, whole) else None


def _widths(indices: torch.Tensor) -> tuple[int, ...] | None:
    """Return the widths of the blocks in which group u owns `[u · width, (u + 1) · width)`."""
    groups, size = indices.shape
    first = indices[0].nonzero().flatten().tolist()
    starts = [first[0], *(b for a, b in pairwise(first) if b != a + 1)]
    widths = [sum(start <= i < end for i in first) for start, end in pairwise([*starts, size])]
    expected = torch.zeros_like(indices)
    begin = 0
    for width in widths:
        for group in range(groups):
            expected[group, begin + group * width : begin + (group + 1) * width] = True
        begin += groups * width
    return tuple(widths) if begin == size and torch.equal(expected, indices) else None


def _refuse_coupled(
    members: Sequence[Sequence[int]],
    slices: Mapping[str, TensorSlices],
    shared: Sequence[str],
    parameters: Mapping[str, nn.Parameter],
) -> None:
    """Raise where every group needs the whole of a matrix, or where there is only one group."""
    matrices = [name for name in shared if parameters[name].dim() >= _MATRIX]
    spanning = [
        name
        for name in slices
        if parameters.get(name) is not None and parameters[name].dim() < _MATRIX and "norm" in name
    ]
    if matrices and spanning:
        names = " and ".join(name.removesuffix(".weight") for name in spanning)
        raise UnsupportedArchitecture(f"its norms {names} span all heads")
    if matrices:
        raise UnsupportedArchitecture(f"every group needs all of {', '.join(matrices)}")
    if len(members) < _FEWEST:
        raise UnsupportedArchitecture("all inputs of its output depend on one another")


def _refuse_unused(
    linears: Sequence[str], slices: Mapping[str, TensorSlices], shared: Sequence[str]
) -> None:
    """Raise for a linear layer that nothing depends on."""
    unused = [n for n in linears if f"{n}.weight" not in slices and f"{n}.weight" not in shared]
    if unused:
        raise UnsupportedArchitecture(f"its output doesn't depend on {', '.join(unused)}")


def _candidates(linears: Sequence[LinearRun]) -> Iterator[_Candidate]:
    """Yield every pair of linears as gate and up, and the halves of every single one."""
    for gate, up in permutations(linears, 2):
        yield (gate.name, up.name), gate.output, up.output
    for one in linears:
        gate_rows, up_rows = one.output.chunk(2, dim=-1)
        yield (one.name,), gate_rows, up_rows


def _activation_recorder(activations: list[_Activation], name: str) -> Any:
    def record(_module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        if args and isinstance(output, torch.Tensor):
            activations.append((name, args[0], output))

    return record
