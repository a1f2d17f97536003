"""Experts that a checkpoint stores in one tensor, seen one by one, as most checkpoints have them.

transformers runs the experts of a layer as `gate_up_proj` `[E, 2F, D]` and `down_proj` `[E, D, F]`,
and some tools save them so; it saves them apart itself. Nothing is copied: a name is a slice.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from globalprune.errors import CheckpointError
from globalprune.models.checkpoints.checkpoint import TensorInfo

_BOTH: Final = ".mlp.experts.gate_up_proj"
_DOWN: Final = ".mlp.experts.down_proj"
# what checkpoints call an expert's parts, below the layer, in families that we know
_APART: Final = {
    "qwen3_moe": ("mlp.experts.{}.gate_proj", "mlp.experts.{}.up_proj", "mlp.experts.{}.down_proj"),
    "mixtral": (
        "block_sparse_moe.experts.{}.w1",
        "block_sparse_moe.experts.{}.w3",
        "block_sparse_moe.experts.{}.w2",
    ),
}
_ROUTERS: Final = {"mixtral": (".mlp.gate.weight", ".block_sparse_moe.gate.weight")}
_COUNTS: Final = ("num_experts", "num_local_experts")
_DIMENSIONS: Final = 3


@dataclass(frozen=True)
class Slice:
    """Where a tensor lies: a file, a name in it, and of a fused one the expert and its rows."""

    file: Path
    name: str
    expert: int | None = None
    rows: tuple[int, int] = (0, 0)

    def of(self, opened: Any) -> Any:
        """Read it from the opened file."""
        if self.expert is None:
            return opened.get_tensor(self.name)
        return opened.get_slice(self.name)[self.expert, slice(*self.rows)]


def taken_apart(
    config: dict[str, Any], tensors: dict[str, TensorInfo], places: dict[str, Slice]
) -> None:
    """Put, in place of every fused tensor, the parts of its experts; raise where that's unclear."""
    names = _APART.get(str(config.get("model_type")))
    for name in [one for one in tensors if one.endswith((_BOTH, _DOWN))]:
        info, place = tensors.pop(name), places.pop(name)
        if names is None or len(info.shape) != _DIMENSIONS or 0 in info.shape:
            raise CheckpointError(
                f"{place.file}: {name} {list(info.shape)} holds the experts of a layer in one "
                "tensor, which globalprune knows of "
                f"{' and '.join(_APART)} alone; save the model with each expert by itself."
            )
        experts, height, width = info.shape
        said = next((config[key] for key in _COUNTS if config.get(key) is not None), None)
        if said != experts:
            raise CheckpointError(
                f"{place.file}: {name} holds {experts:,} experts, where config.json says {said}; "
                "use the config that belongs to the weights."
            )
        layer = name.removesuffix(_BOTH).removesuffix(_DOWN)
        parts = {names[2]: (0, height)}
        if name.endswith(_BOTH):
            parts = {names[0]: (0, height // 2), names[1]: (height // 2, height)}
        for expert in range(experts):
            for part, rows in parts.items():
                apart = f"{layer}.{part.format(expert)}.weight"
                tensors[apart] = TensorInfo((rows[1] - rows[0], width), info.dtype)
                places[apart] = Slice(place.file, place.name, expert, rows)
        _rename_router(str(config["model_type"]), layer, tensors, places)


def _rename_router(
    model_type: str, layer: str, tensors: dict[str, TensorInfo], places: dict[str, Slice]
) -> None:
    """The router beside fused experts has the name that transformers gives it, too."""
    new, old = _ROUTERS.get(model_type, ("", ""))
    if new and f"{layer}{new}" in tensors:
        tensors[layer + old] = tensors.pop(layer + new)
        places[layer + old] = places.pop(layer + new)
