"""The sites of a loaded model and the hooks on them, with a detector of NaN and infinity."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

from globalprune.artifacts.structure import GROUP_TYPES, GroupType, ModelStructure
from globalprune.errors import CheckpointError, NonFiniteError, UnsupportedArchitecture
from globalprune.models.architecture import GroupAxis, ModelAdapter
from globalprune.statistics.interface import Batch, NormBehind, Reducer, Site, widened


class FiniteWatch:
    """Notes one sum a window for everything seen, and looks at all of them at once.

    A sum is finite only if every term is, and looking once a batch spares a GPU the waiting.
    """

    def __init__(self) -> None:
        self._seen: list[tuple[str, torch.Tensor]] = []

    def note(self, what: str, values: torch.Tensor) -> None:
        """Note `values [B, ...]`; `what` begins a sentence of the error message."""
        total = widened(values.detach().new_zeros(())).dtype
        self._seen.append((what, values.detach().flatten(1).sum(dim=1, dtype=total)))

    def settle(self, batch: Batch) -> None:
        """Raise `NonFiniteError` for the first thing that was not finite; forget the rest."""
        seen, self._seen = self._seen, []
        if seen and not bool(torch.stack([total.isfinite().all() for _, total in seen]).all()):
            raise NonFiniteError(_message(seen, batch))


def _message(seen: Sequence[tuple[str, torch.Tensor]], batch: Batch) -> str:
    """Say what was not finite, and in which window."""
    for what, totals in seen:
        if not bool(totals.isfinite().all()):
            row = int((~totals.isfinite()).nonzero()[0])
            return (
                f"{what} is not finite in window {batch.first_window + row} of the text; "
                "try --dtype float32 (or bfloat16), and check the model's weights."
            )
    raise AssertionError("everything was finite")


_Passed = tuple[torch.Tensor, torch.Tensor]  # what entered a site, and what left it


class Watch:
    """Hands every reducer what it watches; `batch` is set anew for every batch that runs."""

    def __init__(self, reducers: Sequence[Reducer]) -> None:
        self.batch = Batch(0, 0, 0)
        self.finite = FiniteWatch()
        self._reducers = reducers

    @contextmanager
    def on(self, sites: Sequence[Site]) -> Iterator[None]:
        """Hook the sites that anyone watches; unhook them whatever happens."""
        with ExitStack() as stack:
            for site in sites:
                for handle in self._hook(site):
                    stack.callback(handle.remove)
            yield

    def _hook(self, site: Site) -> Iterator[RemovableHandle]:
        """Hook one site, as far as anyone watches it."""
        reducers = [reducer for reducer in self._reducers if reducer.watches(site)]
        at_gate = [reducer for reducer in reducers if reducer.gradient_at == "gate"]
        passed: list[_Passed] = []
        if at_gate and site.norm is None:
            yield site.linear.register_forward_pre_hook(self._before_gate(site, at_gate))
        if reducers:
            yield site.linear.register_forward_hook(self._behind_linear(site, reducers, passed))
        if at_gate and site.norm is not None:
            hook = self._behind_norm(site, site.norm, at_gate, passed)
            yield site.norm.module.register_forward_hook(hook)

    def _before_gate(self, site: Site, reducers: Sequence[Reducer]) -> Callable[..., None]:
        """Wait for the gradient at what enters the site."""

        def before_forward(_module: nn.Module, args: tuple[Any, ...]) -> None:
            inputs = _by_window(args[0].detach())

            def take(delta: torch.Tensor) -> None:
                for reducer in reducers:
                    reducer.take_gradient(site, inputs, delta, self.batch)

            self._await_gradient(args[0], f"{site.name}: the gradient at its input", take)

        return before_forward

    def _behind_linear(
        self, site: Site, reducers: Sequence[Reducer], passed: list[_Passed]
    ) -> Callable[..., None]:
        """Hand on what enters the site; wait for the gradient at what leaves it, if anyone does."""
        at_output = [reducer for reducer in reducers if reducer.gradient_at == "output"]
        to_norm = site.norm is not None and any(r.gradient_at == "gate" for r in reducers)

        def after_forward(_module: nn.Module, args: tuple[Any, ...], output: torch.Tensor) -> None:
            inputs = _by_window(args[0].detach())
            self.finite.note(f"{site.name}: its input", inputs)
            for reducer in reducers:
                reducer.take_input(site, inputs)
            if to_norm:
                passed.append((inputs, _by_window(output.detach())))

            def take(delta: torch.Tensor) -> None:
                for reducer in at_output:
                    reducer.take_gradient(site, inputs, delta, self.batch)

            if at_output:
                self._await_gradient(output, f"{site.name}: the gradient at its output", take)

        return after_forward

    def _behind_norm(
        self,
        site: Site,
        norm: NormBehind,
        reducers: Sequence[Reducer],
        passed: list[_Passed],
    ) -> Callable[..., None]:
        """Wait for the gradient behind the norm that the site's output has entered."""

        def after_forward(_module: nn.Module, _args: tuple[Any, ...], normed: torch.Tensor) -> None:
            inputs, output = passed.pop()

            def take(delta: torch.Tensor) -> None:
                for reducer in reducers:
                    reducer.take_gradient_behind(site, norm, inputs, output, delta, self.batch)

            self._await_gradient(normed, f"{site.name}: the gradient behind its norm", take)

        return after_forward

    def _await_gradient(
        self, tensor: torch.Tensor, what: str, take: Callable[[torch.Tensor], None]
    ) -> None:
        """Hand over the gradient at `tensor` once the backward pass has come to it."""

        def watched(delta: torch.Tensor) -> None:
            delta = _by_window(delta.detach())
            self.finite.note(what, delta)
            take(delta)

        # Whatever is watched first begins the graph: nothing is ever propagated back to layers
        # before it, nor to the embeddings.
        if not tensor.requires_grad:
            tensor.requires_grad_()
        tensor.register_hook(watched)  # type: ignore[no-untyped-call]


def _by_window(tensor: torch.Tensor) -> torch.Tensor:
    """`[B, T, …]`; what an expert sees are tokens without windows, and all of a single one."""
    return tensor if tensor.dim() > 2 else tensor[None]  # noqa: PLR2004


@contextmanager
def frozen(model: nn.Module) -> Iterator[None]:
    """Let no parameter ask for a gradient, so that autograd never makes a weight-sized one."""
    asking = [parameter for parameter in model.parameters() if parameter.requires_grad]
    training = [module for module in model.modules() if module.training]
    model.eval()
    for parameter in asking:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in asking:
            parameter.requires_grad_()
        for module in training:  # each by itself: a model may train in parts
            module.training = True


def find_sites(
    model: nn.Module, adapter: ModelAdapter, structure: ModelStructure, layers: range
) -> tuple[Site, ...]:
    """The sites of these layers, in the order in which they are computed.

    Sublayers that are empty or can't be cut have none.

    Raise `CheckpointError` where the loaded model is not the one that the structure describes.
    """
    return tuple(
        site
        for layer in layers
        for group_type in GROUP_TYPES
        for site in _sites_of_sublayer(model, adapter, structure, layer, group_type)
    )


def _sites_of_sublayer(
    model: nn.Module,
    adapter: ModelAdapter,
    structure: ModelStructure,
    layer: int,
    group_type: GroupType,
) -> Iterator[Site]:
    """Yield one sublayer's sites."""
    below = structure.layers[layer]
    outputs = adapter.outputs(below, group_type)
    if below.sublayer(group_type).fixed:
        return
    norm = norm_behind(model, adapter, structure, layer, group_type)
    by_module: dict[str, dict[str, GroupAxis]] = {}
    for axis in adapter.axes(below, group_type):
        module, _, parameter = axis.tensor.rpartition(".")
        by_module.setdefault(module, {})[parameter] = axis
    for module, axes in by_module.items():
        name = adapter.layer_prefix(layer) + adapter.module(module)
        axis = next(iter(axes.values()))
        groups = axis.groups(below.tensors[axis.tensor])
        linear = _linear(model, name, axes, groups)
        is_output = module in outputs
        yield Site(
            name=name,
            sublayer=(layer, group_type),
            first=axis.first,
            groups=groups,
            linear=linear,
            axes=axes,
            is_output=is_output,
            norm=NormBehind.of(norm, linear.weight) if norm is not None and is_output else None,
        )


def norm_behind(
    model: nn.Module,
    adapter: ModelAdapter,
    structure: ModelStructure,
    layer: int,
    group_type: GroupType,
) -> nn.Module | None:
    """The norm that what a sublayer makes passes before the residual stream takes it.

    Raise `UnsupportedArchitecture` where it stands behind experts: what one of their groups makes
    of a token is scaled by the router before it comes there.
    """
    name = adapter.leaving_norm(group_type)
    if name is None:
        return None
    if structure.layers[layer].sublayer(group_type).experts:
        raise UnsupportedArchitecture(
            f"{adapter.name}: a norm stands behind the experts of layer {layer}, and what a group "
            "in front of it is worth can't be measured."
        )
    return model.get_submodule(adapter.layer_prefix(layer) + name)


def _linear(model: nn.Module, name: str, axes: dict[str, GroupAxis], groups: int) -> nn.Linear:
    """Find the linear layer, and make sure that its parameters are as large as promised."""
    linear = model.get_submodule(name)
    if not isinstance(linear, nn.Linear):
        raise CheckpointError(
            f"{name}: is a {type(linear).__name__} and not a plain linear layer; "
            "load the model without quantisation or adapters."
        )
    for parameter, axis in axes.items():
        size = linear.get_parameter(parameter).shape[axis.dim]
        if size != groups * axis.width:
            raise CheckpointError(
                f"{name}.{parameter}: has {size} along dimension {axis.dim} in the loaded model, "
                f"{groups * axis.width} in its checkpoint; the checkpoint was not loaded whole."
            )
    return linear
