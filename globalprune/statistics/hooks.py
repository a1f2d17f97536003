"""The sites of a loaded model, the hooks on them, and a detector of NaN and infinity."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

from globalprune.artifacts.structure import GROUP_TYPES, GroupType, ModelStructure
from globalprune.errors import CheckpointError, NonFiniteError
from globalprune.models.architecture import GroupAxis, ModelAdapter
from globalprune.statistics.interface import Batch, Reducer, Site, widened
from globalprune.statistics.post_norm import PostNorm, post_norm_module

_Passed = tuple[torch.Tensor, torch.Tensor]  # input and output of a site, [B, T, D] and [B, T, O]


def find_sites(
    model: nn.Module, adapter: ModelAdapter, structure: ModelStructure, layers: range
) -> tuple[Site, ...]:
    """Return the sites of these layers, in the order in which they are computed.

    Sublayers that are empty or can't be cut have none.

    Raises:
        CheckpointError: the loaded model is not the one that the structure describes.
        UnsupportedArchitecture: a norm stands behind experts.
    """
    return tuple(
        site
        for layer in layers
        for group_type in GROUP_TYPES
        for site in _sites_of_sublayer(model, adapter, structure, layer, group_type)
    )


@contextmanager
def frozen(model: nn.Module) -> Iterator[None]:
    """Turn the model to eval mode and its parameters' gradients off; restore both at the end."""
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    training = [module for module in model.modules() if module.training]
    model.eval()
    for parameter in trainable:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in trainable:
            parameter.requires_grad_()
        for module in training:  # each by itself: a model may train in parts
            module.training = True


class NonFiniteDetector:
    """Sums up each observed tensor by window, and checks all sums of a batch at once.

    A sum is finite only if every term is, and a single check makes a GPU wait once a batch.
    """

    def __init__(self) -> None:
        self._sums: list[tuple[str, torch.Tensor]] = []

    def observe(self, what: str, values: torch.Tensor) -> None:
        """Add `values [B, ...]` to what `check` looks at; `what` begins its error message."""
        dtype = widened(values.detach().new_zeros(())).dtype
        self._sums.append((what, values.detach().flatten(1).sum(dim=1, dtype=dtype)))

    def check(self, batch: Batch) -> None:
        """Raise `NonFiniteError` for the first sum that isn't finite, and begin anew."""
        sums, self._sums = self._sums, []
        if sums and not bool(torch.stack([each.isfinite().all() for _, each in sums]).all()):
            raise NonFiniteError(_non_finite_message(sums, batch))


def _non_finite_message(sums: Sequence[tuple[str, torch.Tensor]], batch: Batch) -> str:
    """Say what is not finite, and in which window."""
    for what, by_window in sums:
        if not bool(by_window.isfinite().all()):
            row = int((~by_window.isfinite()).nonzero()[0])
            return (
                f"{what} is not finite in window {batch.first_window + row} of the text; "
                "try --dtype float32 (or bfloat16), and check the model's weights."
            )
    raise AssertionError("every sum is finite")


class HookManager:
    """Hooks the sites and hands what passes them to the reducers.

    `batch` describes the windows that run at the moment; the pass sets it for every batch.
    """

    def __init__(self, reducers: Sequence[Reducer]) -> None:
        self.batch = Batch(0, 0, 0)
        self.detector = NonFiniteDetector()
        self._reducers = reducers

    @contextmanager
    def attached(self, sites: Sequence[Site]) -> Iterator[None]:
        """Hook the sites that a reducer uses while inside, and remove the hooks at the end."""
        with ExitStack() as stack:
            for site in sites:
                for handle in self._hook(site):
                    stack.callback(handle.remove)
            yield

    def _hook(self, site: Site) -> Iterator[RemovableHandle]:
        """Register the hooks that the reducers of one site need."""
        reducers = [reducer for reducer in self._reducers if reducer.uses(site)]
        at_gate = [reducer for reducer in reducers if reducer.gradient_at == "gate"]
        passed: list[_Passed] = []
        if at_gate and site.norm is None:
            yield site.linear.register_forward_pre_hook(self._gate_hook(site, at_gate))
        if reducers:
            yield site.linear.register_forward_hook(self._linear_hook(site, reducers, passed))
        if at_gate and site.norm is not None:
            hook = self._norm_hook(site, site.norm, at_gate, passed)
            yield site.norm.module.register_forward_hook(hook)

    def _gate_hook(self, site: Site, reducers: Sequence[Reducer]) -> Callable[..., None]:
        """Return a hook that hands on the gradient at the site's input."""

        def before_forward(_module: nn.Module, args: tuple[Any, ...]) -> None:
            inputs = _by_window(args[0].detach())

            def on_gradient(delta: torch.Tensor) -> None:
                for reducer in reducers:
                    reducer.on_gradient(site, inputs, delta, self.batch)

            self._await_gradient(args[0], f"{site.name}: the gradient at its input", on_gradient)

        return before_forward

    def _linear_hook(
        self, site: Site, reducers: Sequence[Reducer], passed: list[_Passed]
    ) -> Callable[..., None]:
        """Return a hook that hands on the site's input, and the gradient at its output if used.

        Where gates lie in front of a norm, it leaves input and output in `passed`.
        """
        at_output = [reducer for reducer in reducers if reducer.gradient_at == "output"]
        to_norm = site.norm is not None and any(r.gradient_at == "gate" for r in reducers)

        def after_forward(_module: nn.Module, args: tuple[Any, ...], output: torch.Tensor) -> None:
            inputs = _by_window(args[0].detach())
            self.detector.observe(f"{site.name}: its input", inputs)
            for reducer in reducers:
                reducer.on_input(site, inputs)
            if to_norm:
                passed.append((inputs, _by_window(output.detach())))

            def on_gradient(delta: torch.Tensor) -> None:
                for reducer in at_output:
                    reducer.on_gradient(site, inputs, delta, self.batch)

            if at_output:
                self._await_gradient(
                    output, f"{site.name}: the gradient at its output", on_gradient
                )

        return after_forward

    def _norm_hook(
        self, site: Site, norm: PostNorm, reducers: Sequence[Reducer], passed: list[_Passed]
    ) -> Callable[..., None]:
        """Return a hook that hands on the gradient behind the norm that the site feeds."""

        def after_forward(_module: nn.Module, _args: tuple[Any, ...], normed: torch.Tensor) -> None:
            inputs, output = passed.pop()

            def on_gradient(delta: torch.Tensor) -> None:
                for reducer in reducers:
                    reducer.on_post_norm_gradient(site, norm, inputs, output, delta, self.batch)

            self._await_gradient(normed, f"{site.name}: the gradient behind its norm", on_gradient)

        return after_forward

    def _await_gradient(
        self, tensor: torch.Tensor, what: str, on_gradient: Callable[[torch.Tensor], None]
    ) -> None:
        """Call `on_gradient` once the backward pass has computed the gradient at `tensor`."""

        def observed(delta: torch.Tensor) -> None:
            delta = _by_window(delta.detach())
            self.detector.observe(what, delta)
            on_gradient(delta)

        # The first tensor that needs a gradient begins the graph, so nothing is propagated to the
        # layers before it, nor to the embeddings.
        if not tensor.requires_grad:
            tensor.requires_grad_()
        tensor.register_hook(observed)  # type: ignore[no-untyped-call]


def _by_window(tensor: torch.Tensor) -> torch.Tensor:
    """Return `[B, T, …]`; an expert's tokens `[T, …]` are all of a single window."""
    return tensor if tensor.dim() > 2 else tensor[None]  # noqa: PLR2004


def _sites_of_sublayer(
    model: nn.Module,
    adapter: ModelAdapter,
    structure: ModelStructure,
    layer: int,
    group_type: GroupType,
) -> Iterator[Site]:
    """Yield one sublayer's sites."""
    below = structure.layers[layer]
    outputs = adapter.output_modules(below, group_type)
    if below.sublayer(group_type).fixed:
        return
    norm = post_norm_module(model, adapter, structure, layer, group_type)
    by_module: dict[str, dict[str, GroupAxis]] = {}
    for axis in adapter.axes(below, group_type):
        module, _, parameter = axis.tensor.rpartition(".")
        by_module.setdefault(module, {})[parameter] = axis
    for module, axes in by_module.items():
        name = adapter.layer_prefix(layer) + adapter.module_name(module)
        axis = next(iter(axes.values()))
        groups = axis.groups(below.tensors[axis.tensor])
        linear = _linear_module(model, name, axes, groups)
        is_output = module in outputs
        yield Site(
            name=name,
            sublayer=(layer, group_type),
            first=axis.first,
            groups=groups,
            linear=linear,
            axes=axes,
            is_output=is_output,
            norm=PostNorm.of(norm, linear.weight) if norm is not None and is_output else None,
        )


def _linear_module(
    model: nn.Module, name: str, axes: dict[str, GroupAxis], groups: int
) -> nn.Linear:
    """Return the linear layer of that name; refuse another class and other sizes."""
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
