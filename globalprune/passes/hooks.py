"""The hooks that let reducers see what passes through the sites, and take themselves off again."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

from globalprune.passes.finite import FiniteWatch
from globalprune.passes.interface import Batch, GradientPlace, Reducer, Site


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
        at_input = [reducer for reducer in reducers if reducer.gradient_at == "input"]
        at_output = [reducer for reducer in reducers if reducer.gradient_at == "output"]

        def before_forward(_module: nn.Module, args: tuple[Any, ...]) -> None:
            inputs = _by_window(args[0].detach())
            self._await_gradient(site, "input", args[0], inputs, at_input)

        def after_forward(_module: nn.Module, args: tuple[Any, ...], output: torch.Tensor) -> None:
            inputs = _by_window(args[0].detach())
            self.finite.note(f"{site.name}: its input", inputs)
            for reducer in reducers:
                reducer.take_input(site, inputs)
            if at_output:
                self._await_gradient(site, "output", output, inputs, at_output)

        if at_input:
            yield site.linear.register_forward_pre_hook(before_forward)
        if reducers:
            yield site.linear.register_forward_hook(after_forward)

    def _await_gradient(
        self,
        site: Site,
        place: GradientPlace,
        tensor: torch.Tensor,
        inputs: torch.Tensor,
        reducers: Sequence[Reducer],
    ) -> None:
        """Hand the reducers the gradient at `tensor` once the backward pass has come to it."""

        def take(delta: torch.Tensor) -> None:
            delta = _by_window(delta.detach())
            self.finite.note(f"{site.name}: the gradient at its {place}", delta)
            for reducer in reducers:
                reducer.take_gradient(site, inputs, delta, self.batch)

        # Whatever is watched first begins the graph: nothing is ever propagated back to layers
        # before it, nor to the embeddings.
        if not tensor.requires_grad:
            tensor.requires_grad_()
        tensor.register_hook(take)  # type: ignore[no-untyped-call]


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
