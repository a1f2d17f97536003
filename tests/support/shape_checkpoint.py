"""Checkpoints of any size that hold names and shapes but no weights."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from globalprune.models.checkpoints.checkpoint import TensorInfo
from globalprune.models.sources.source import ModelSource

Shapes = dict[str, tuple[int, ...]]
NOWHERE = ModelSource("shapes-only", Path("shapes-only"))


@dataclass(frozen=True)
class ShapeCheckpoint:
    """A `Checkpoint` whose tensors can be counted and not read."""

    config: dict[str, Any]
    tensors: Mapping[str, TensorInfo]
    source: ModelSource = NOWHERE
    auxiliary_folder: Path | None = None

    @property
    def parameters(self) -> int:
        """The number of parameters."""
        return sum(info.parameters for info in self.tensors.values())

    def read(self, name: str) -> torch.Tensor:
        """Fail: there is nothing to read."""
        raise AssertionError(f"{name}: a structure must be read from shapes alone")


def layer_shapes(hidden: int, heads: int, kv_heads: int, head_dim: int, width: int) -> Shapes:
    """One decoder layer without biases."""
    return {
        "self_attn.q_proj.weight": (heads * head_dim, hidden),
        "self_attn.k_proj.weight": (kv_heads * head_dim, hidden),
        "self_attn.v_proj.weight": (kv_heads * head_dim, hidden),
        "self_attn.o_proj.weight": (hidden, heads * head_dim),
        "mlp.gate_proj.weight": (width, hidden),
        "mlp.up_proj.weight": (width, hidden),
        "mlp.down_proj.weight": (hidden, width),
        "input_layernorm.weight": (hidden,),
        "post_attention_layernorm.weight": (hidden,),
    }


def shape_checkpoint(
    layers: list[Shapes], *, vocabulary: int, hidden: int, **config: Any
) -> ShapeCheckpoint:
    """A whole model around the layers, with an untied head; `config` overrides what it says."""
    shapes = {
        "model.embed_tokens.weight": (vocabulary, hidden),
        "model.norm.weight": (hidden,),
        "lm_head.weight": (vocabulary, hidden),
    }
    for index, layer in enumerate(layers):
        shapes |= {f"model.layers.{index}.{name}": shape for name, shape in layer.items()}
    said = {"model_type": "llama", "num_hidden_layers": len(layers), "hidden_size": hidden}
    tensors = {name: TensorInfo(shape, "BF16") for name, shape in shapes.items()}
    return ShapeCheckpoint(said | config, tensors)
