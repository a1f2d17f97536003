"""Plans as tests write them, the cuts that they mean, and the files of a model as plain tensors.

A removal says what goes, `{layer: {"attention": groups, "mlp": channels}}`, as a plan does.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from hypothesis import strategies as st
from safetensors.torch import load_file
from tiny_models import MLP_ONLY, tiny_config
from uneven_models import Cut

from globalprune.artifacts.structure import GROUP_TYPES, GroupType

LAYERS = 4  # of every tiny model
Removals = Mapping[int, Mapping[GroupType, Sequence[int]]]


def write_removals(path: Path, removals: Removals, *, remove_empty_layers: bool = True) -> Path:
    """Write a plan as a person would, keys and indices in the order given."""
    lines = ["format: globalprune.plan/1"]
    if not remove_empty_layers:
        lines.append("remove_empty_layers: false")
    lines.append("layers:" if removals else "layers: {}")
    for layer, sublayers in removals.items():
        spelled = [f'{kind}: "{", ".join(map(str, gone))}"' for kind, gone in sublayers.items()]
        lines.append(f"  {layer}: {{{', '.join(spelled)}}}")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def groups_of(family: str, kind: GroupType) -> int:
    """How many groups a sublayer of a tiny model has."""
    config = tiny_config(family)
    count: int = config.num_key_value_heads if kind == "attention" else config.intermediate_size
    return count


def kinds_of(family: str) -> tuple[GroupType, ...]:
    """The kinds of groups that a plan for the family may name."""
    return ("mlp",) if family in MLP_ONLY else GROUP_TYPES


def cuttable(family: str, removals: Removals) -> dict[int, dict[GroupType, Sequence[int]]]:
    """The same removals without those that no plan for the family may name."""
    kinds = kinds_of(family)
    kept = {
        layer: {kind: gone for kind, gone in sublayers.items() if kind in kinds}
        for layer, sublayers in removals.items()
    }
    return {layer: sublayers for layer, sublayers in kept.items() if sublayers}


def what_stays(family: str, removals: Removals) -> Cut:
    """The same cut, said by what stays."""
    return {
        layer: {
            kind: tuple(sorted(set(range(groups_of(family, kind))) - set(gone)))
            for kind, gone in sublayers.items()
        }
        for layer, sublayers in removals.items()
    }


def removals(family: str) -> st.SearchStrategy[dict[int, dict[GroupType, list[int]]]]:
    """Any removal that leaves something of a tiny model: parts of sublayers, sublayers, layers."""
    sublayer = {
        kind: st.one_of(
            st.just(list(range(groups_of(family, kind)))),
            st.lists(st.integers(0, groups_of(family, kind) - 1), min_size=1, unique=True),
        )
        for kind in kinds_of(family)
    }
    layer = st.fixed_dictionaries({}, optional=sublayer).filter(bool)
    plans = st.dictionaries(st.integers(0, LAYERS - 1), layer, max_size=LAYERS)
    return plans.filter(lambda plan: _leaves_something(family, plan))


def _leaves_something(family: str, plan: Removals) -> bool:
    """Whether any group at all is left."""
    gone = sum(len(indices) for sublayers in plan.values() for indices in sublayers.values())
    return gone < LAYERS * sum(groups_of(family, kind) for kind in GROUP_TYPES)


def tensors_in(folder: Path) -> dict[str, torch.Tensor]:
    """Every tensor of a folder's safetensors files."""
    tensors: dict[str, torch.Tensor] = {}
    for path in sorted(folder.glob("*.safetensors")):
        tensors |= load_file(path)
    return tensors
