"""The hooks that let reducers see what passes through the sites, and take themselves off again."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

from globalprune.passes.finite import FiniteWatch
from globalprune.passes.interface import Batch, Reducer, Site
from globalprune.passes.norms import NormBehind

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
