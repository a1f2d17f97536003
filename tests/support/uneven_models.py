"""Cuts made by hand, apart from the product's surgery, and the masked originals they must equal.

A cut says what stays, `{layer: {"attention": groups, "mlp": channels}}`; others stay whole.
"""

import json
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from tiny_models import MLP_ONLY, tiny_config, tiny_tokenizer
from transformers import PreTrainedModel

from globalprune.artifacts.plans.index_set import IndexSet
from globalprune.artifacts.plans.plan_effect import LayerEffect, PlanEffect
from globalprune.artifacts.structure import LayerStructure, ModelStructure, SublayerStructure
from globalprune.models import modeling_globalprune
from globalprune.models.configs.pruned_config import EditedConfig, prune_config

Cut = Mapping[int, Mapping[str, Sequence[int]]]
ONLY_ATTENTION: Cut = {
    0: {"attention": ()},
    2: {"attention": ()},
}  # whole sublayers, nothing narrower


def uneven_cut(family: str) -> Cut:
    """Cut all that can differ: no attention first, odd widths, other groups per layer, no MLP.

    Attention only where the family's can be cut.
    """
    groups: int = tiny_config(family).num_key_value_heads
    if family in MLP_ONLY:
        return {1: {"mlp": (0, 5, 6, 23)}, 2: {"mlp": ()}, 3: {"mlp": tuple(range(7))}}
    return {
        0: {"attention": ()},
        1: {"attention": (groups - 1,), "mlp": (0, 5, 6, 23)},
        2: {"mlp": ()},
        3: {"attention": (0,), "mlp": tuple(range(7))},
    }


def structure_of(model: PreTrainedModel) -> ModelStructure:
    """Describe a tiny model; only what a config is written from is right."""
    config: Any = model.config
    layer = LayerStructure(
        attention=SublayerStructure(groups=config.num_key_value_heads, cost=1),
        mlp=SublayerStructure(groups=config.intermediate_size, cost=1),
        norms=1,
        query_heads_per_group=config.num_attention_heads // config.num_key_value_heads,
        head_dim=getattr(config, "head_dim", config.hidden_size // config.num_attention_heads),
        tensors={},
    )
    return ModelStructure(layers=(layer,) * config.num_hidden_layers, parameters=1)


def effect_of_cut(structure: ModelStructure, cut: Cut, dropped: Sequence[int] = ()) -> PlanEffect:
    """Say the same as a plan's effect would; its sums are left out."""
    layers = tuple(
        LayerEffect(
            layer_idx=index,
            attention=IndexSet.of(
                cut.get(index, {}).get("attention", range(layer.attention.groups))
            ),
            mlp=IndexSet.of(cut.get(index, {}).get("mlp", range(layer.mlp.groups))),
            dropped=index in dropped,
        )
        for index, layer in enumerate(structure.layers)
    )
    return PlanEffect(layers, removed_groups={}, removed=0, on_top=0, parameters_before=1)


def save_uneven(
    folder: Path, model: PreTrainedModel, cut: Cut, dropped: Sequence[int] = ()
) -> EditedConfig:
    """Write what is left of `model`: tensors, config, modeling file and tokenizer."""
    structure = structure_of(model)
    effect = effect_of_cut(structure, cut, dropped)
    model.save_pretrained(folder)
    raw = json.loads((folder / "config.json").read_text())
    edit = prune_config(raw, structure, effect)
    (folder / "config.json").write_text(json.dumps(edit.config))
    tensors = _cut_tensors(model, structure, effect)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    if edit.uneven:
        shutil.copy(str(modeling_globalprune.__file__), folder)
    tiny_tokenizer().save_pretrained(folder)
    return edit


def masked(model: PreTrainedModel, cut: Cut) -> PreTrainedModel:
    """Zero, in place, the columns of o_proj and down_proj that read the groups that go."""
    structure = structure_of(model)
    with torch.no_grad():
        for index, sublayers in cut.items():
            layer: Any = model.get_submodule(f"model.layers.{index}")
            for sublayer, stays in sublayers.items():
                linear = layer.self_attn.o_proj if sublayer == "attention" else layer.mlp.down_proj
                width = _columns(structure.layers[index], sublayer)
                gone = torch.ones(linear.in_features, dtype=torch.bool)
                gone[_span(stays, width)] = False
                linear.weight[:, gone] = 0
    return model


def _columns(layer: LayerStructure, sublayer: str) -> int:
    """How many inputs of the sublayer's last projection one group owns."""
    return layer.query_heads_per_group * layer.head_dim if sublayer == "attention" else 1


def _span(groups: Iterable[int], width: int) -> torch.Tensor:
    """The rows that `groups` own, `width` each."""
    starts = torch.tensor(list(groups), dtype=torch.long)[:, None] * width
    return (starts + torch.arange(width)).flatten()


def _cut_tensors(
    model: PreTrainedModel, structure: ModelStructure, effect: PlanEffect
) -> dict[str, torch.Tensor]:
    """Slice the state dict and renumber the layers."""
    tensors = {}
    numbers = {layer.layer_idx: new for new, layer in enumerate(effect.kept_layers)}
    tied = model.config.tie_word_embeddings
    for name, tensor in model.state_dict().items():
        if not name.startswith("model.layers."):
            if not (tied and name == "lm_head.weight"):
                tensors[name] = tensor.clone()
            continue
        _, _, number, rest = name.split(".", 3)
        if int(number) in numbers:
            index = int(number)
            part = _cut_tensor(rest, tensor, structure.layers[index], effect.layers[index])
            if part is not None:
                tensors[f"model.layers.{numbers[index]}.{rest}"] = part.clone()
    return tensors


def _cut_tensor(
    name: str, tensor: torch.Tensor, layer: LayerStructure, effect: LayerEffect
) -> torch.Tensor | None:
    """Slice one tensor of a layer; None if it goes."""
    if name.startswith("self_attn."):
        sublayer, stays, last = "attention", effect.attention, "o_proj"
    elif name.startswith("mlp."):
        sublayer, stays, last = "mlp", effect.mlp, "down_proj"
    else:
        return tensor
    if name.endswith(f"{last}.bias"):
        return tensor
    if not stays:
        return None
    if "_norm" in name:
        return tensor
    if last in name:
        return tensor[:, _span(stays, _columns(layer, sublayer))]
    widths = _rows(name, layer)
    blocks = torch.split(tensor, [width * len(tensor) // sum(widths) for width in widths])
    return torch.cat([b[_span(stays, width)] for b, width in zip(blocks, widths, strict=True)])


def _rows(name: str, layer: LayerStructure) -> list[int]:
    """How many rows of a projection that enters a sublayer one group owns, block by block."""
    queries, keys = _columns(layer, "attention"), layer.head_dim
    widths = {"q_proj": [queries], "qkv_proj": [queries, keys, keys], "gate_up_proj": [1, 1]}
    return widths.get(name.split(".")[1], [keys] if name.startswith("self_attn.") else [1])
