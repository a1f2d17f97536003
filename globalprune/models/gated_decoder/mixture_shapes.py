"""How wide the experts of a layer are, read from a checkpoint and checked against its config."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from globalprune.errors import CheckpointError
from globalprune.models.configs.config_figures import EXPERT_WIDTHS, ConfigFigures
from globalprune.models.gated_decoder.mixtures import Mixture

Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class MixtureShapes:
    """The widths of a layer's experts, none if it has no experts, and its other tensors."""

    experts: tuple[int, ...]
    chosen: int  # experts that a token is given to
    rest: Shapes


NO_EXPERTS: Final = MixtureShapes((), 0, {})


def read_mixture(
    mixture: Mixture | None, tensors: Shapes, config: ConfigFigures, index: int
) -> MixtureShapes:
    """Take the experts from a layer's tensors; raise `CheckpointError` where they don't fit."""
    if mixture is None or mixture.router not in tensors:
        return MixtureShapes((), 0, tensors)
    where = f"{config.where}: layer {index}"
    count = next(filter(None, map(config.find, mixture.count_keys)), 0)
    experts = tuple(_width(mixture, tensors, number) for number in range(count))
    expected = mixture.shapes(experts, config.need("hidden_size"))
    wrong = [
        f"{name} is {tensors.get(name, 'missing')}, not {shape}"
        for name, shape in expected.items()
        if tensors.get(name) != shape
    ]
    if wrong:
        raise CheckpointError(
            f"{where}: the experts don't fit together: {'; '.join(wrong)}; give a checkpoint whose "
            "tensors and config belong together."
        )
    said = _said(mixture, config, index, count)
    if list(experts) != said:
        raise CheckpointError(
            f"{where}: the tensors are those of experts with {_told(experts)} channels, where "
            f"config.json says {_told(said)}; use the config that belongs to the weights."
        )
    rest = {name: shape for name, shape in tensors.items() if name not in expected}
    return MixtureShapes(experts, config.need("num_experts_per_tok"), rest)


def _width(mixture: Mixture, tensors: Shapes, number: int) -> int:
    """One expert's channels; 0 where an earlier cut took them all."""
    shape = tensors.get(mixture.weight(number, mixture.up), (0,))
    return shape[0] if shape else 0


def _said(mixture: Mixture, config: ConfigFigures, index: int, count: int) -> list[int]:
    """What the config says of every expert's width."""
    own = config.layer(index).get(EXPERT_WIDTHS)
    return own if isinstance(own, list) else [config.need(mixture.width_key, index)] * count


def _told(widths: Sequence[int]) -> str:
    """Widths in few words."""
    return f"{widths[0]}" if len(set(widths)) == 1 else ", ".join(map(str, widths))
