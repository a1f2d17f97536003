"""The hooks that let reducers see what passes through the sites, and take themselves off again."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import nn

from globalprune.passes.finite import FiniteWatch
from globalprune.passes.interface import Batch, Reducer, Site


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
                reducers = [reducer for reducer in self._reducers if reducer.watches(site)]
                if reducers:
                    handle = site.linear.register_forward_hook(self._hook(site, reducers))
                    stack.callback(handle.remove)
            yield

    def _hook(self, site: Site, reducers: Sequence[Reducer]) -> Callable[..., None]:
        """Make the forward hook of one site."""
        backward = [reducer for reducer in reducers if reducer.backward]

        def after_forward(_module: nn.Module, args: tuple[Any, ...], output: torch.Tensor) -> None:
            inputs: torch.Tensor = args[0].detach()
            self.finite.note(f"{site.name}: its input", inputs)
            for reducer in reducers:
                reducer.take_input(site, inputs)
            if not backward:
                return
            # The first sites of the first measured layer begin the graph: nothing is ever
            # propagated back to layers before it, nor to the embeddings.
            if not output.requires_grad:
                output.requires_grad_()
            output.register_hook(after_backward(inputs))  # type: ignore[no-untyped-call]

        def after_backward(inputs: torch.Tensor) -> Callable[[torch.Tensor], None]:
            def take(delta: torch.Tensor) -> None:
                self.finite.note(f"{site.name}: the gradient at its output", delta)
                for reducer in backward:
                    reducer.take_gradient(site, inputs, delta.detach(), self.batch)

            return take

        return after_forward


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
