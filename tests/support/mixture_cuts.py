"""Cuts of tiny mixtures: what goes by flat index, and the masked originals that they must equal."""

from typing import Any

import torch
from cutting import LAYERS, Removals
from hypothesis import strategies as st
from tiny_models import tiny_config, tiny_model

from globalprune.artifacts.structure import GROUP_TYPES, GroupType

EXPERTS = 4
WIDTH = 8  # of every expert


def groups_in(family: str, layer: int, kind: GroupType) -> int:
    """How many groups a sublayer has; layer 1 of Qwen3-MoE is dense here."""
    if kind == "attention":
        return 2
    dense = layer in (getattr(tiny_config(family), "mlp_only_layers", None) or [])
    return 24 if dense else EXPERTS * WIDTH


def removals(family: str) -> st.SearchStrategy[dict[int, dict[GroupType, list[int]]]]:
    """Any removal that leaves something: channels, whole experts, sublayers, layers."""
    plans = st.fixed_dictionaries(
        {}, optional={layer: _of_layer(family, layer) for layer in range(LAYERS)}
    )
    return plans.filter(lambda plan: _leaves_something(family, plan))


def masked_mixture(family: str, gone: Removals) -> Any:
    """The original with zeros where outputs read what goes, each expert's loop run plainly."""
    model: Any = tiny_model(family)
    model.set_experts_implementation("eager")
    with torch.no_grad():
        for index, sublayers in gone.items():
            layer = model.model.layers[index]
            for kind, groups in sublayers.items():
                for group in groups:
                    _columns(layer, kind, group).zero_()
    return model


def _columns(layer: Any, kind: str, group: int) -> torch.Tensor:
    """What a group's output goes through."""
    if kind == "attention":
        weight: torch.Tensor = layer.self_attn.o_proj.weight
        return weight[:, group * 16 : (group + 1) * 16]
    if hasattr(layer.mlp, "experts"):
        expert, channel = divmod(group, WIDTH)
        fused: torch.Tensor = layer.mlp.experts.down_proj
        return fused[expert, :, channel]
    down: torch.Tensor = layer.mlp.down_proj.weight
    return down[:, group]


def _of_layer(family: str, layer: int) -> st.SearchStrategy[Any]:
    attention = st.sampled_from([[0], [1], [0, 1]])
    count = groups_in(family, layer, "mlp")
    some = st.lists(st.integers(0, count - 1), min_size=1, unique=True)
    whole = st.just(list(range(count)))
    expert = st.integers(0, count // WIDTH - 1).map(
        lambda e: list(range(e * WIDTH, (e + 1) * WIDTH))
    )
    alike = st.integers(1, WIDTH - 1).map(
        lambda width: [u for u in range(count) if u % WIDTH >= width]
    )
    sublayers = {"attention": attention, "mlp": st.one_of(some, whole, expert, alike)}
    return st.fixed_dictionaries({}, optional=sublayers).filter(bool)


def _leaves_something(family: str, plan: Removals) -> bool:
    gone = sum(len(groups) for sublayers in plan.values() for groups in sublayers.values())
    return gone < sum(groups_in(family, layer, k) for layer in range(LAYERS) for k in GROUP_TYPES)
