"""The linear layers of a gated decoder layer, as families have them: facts as data.

Axes: D model width, Q all query heads, K all key/value heads, F MLP width. `QKK` are three blocks
of one tensor, one behind the other. Groups own slices of Q, K and F; nothing owns D.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from globalprune.artifacts.structure import GroupType
from globalprune.models.interface import GatingModules

MODEL_WIDTH: Final = "D"


@dataclass(frozen=True)
class Projections:
    """Rows and columns of every linear layer, by its name below the layer."""

    halves: Mapping[GroupType, Mapping[str, tuple[str, str]]]
    measured_at: Mapping[str, tuple[str, int]]  # by axis: the layer and the dimension that tell it
    gating: GatingModules

    @property
    def all(self) -> dict[str, tuple[str, str]]:
        """Those of both halves."""
        return {name: axes for half in self.halves.values() for name, axes in half.items()}


SEPARATE: Final = Projections(
    {
        "attention": {
            "self_attn.q_proj": ("Q", "D"),
            "self_attn.k_proj": ("K", "D"),
            "self_attn.v_proj": ("K", "D"),
            "self_attn.o_proj": ("D", "Q"),
        },
        "mlp": {
            "mlp.gate_proj": ("F", "D"),
            "mlp.up_proj": ("F", "D"),
            "mlp.down_proj": ("D", "F"),
        },
    },
    {"Q": ("self_attn.q_proj", 0), "K": ("self_attn.k_proj", 0), "F": ("mlp.up_proj", 0)},
    GatingModules(("mlp.gate_proj", "mlp.up_proj"), "mlp.act_fn"),
)
FUSED: Final = Projections(  # queries, keys and values in one; gate and up in one
    {
        "attention": {"self_attn.qkv_proj": ("QKK", "D"), "self_attn.o_proj": ("D", "Q")},
        "mlp": {"mlp.gate_up_proj": ("FF", "D"), "mlp.down_proj": ("D", "F")},
    },
    {"Q": ("self_attn.o_proj", 1), "K": ("self_attn.qkv_proj", 0), "F": ("mlp.gate_up_proj", 0)},
    GatingModules(("mlp.gate_up_proj",), "mlp.activation_fn"),
)
