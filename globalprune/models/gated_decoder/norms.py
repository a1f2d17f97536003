"""The norms in a gated decoder layer, as families have them: facts as data.

Those around the halves are vectors of the model's width. One that leaves a half normalises what it
makes before the residual stream takes it. Those of queries and keys lie inside the attention.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from globalprune.artifacts.structure import GroupType

HEAD: Final = "H"  # the axis of one head's size


@dataclass(frozen=True)
class LayerNorms:
    """Norms by the half that they stand before or behind, by their names below the layer.

    A half that none stands before reads the residual stream itself.
    """

    entering: Mapping[GroupType, str]
    leaving: Mapping[GroupType, str] = field(default_factory=dict)

    @property
    def tensors(self) -> tuple[str, ...]:
        """The names of their weights."""
        return tuple(f"{name}.weight" for name in (*self.entering.values(), *self.leaving.values()))


BEFORE: Final = LayerNorms({"attention": "input_layernorm", "mlp": "post_attention_layernorm"})
AROUND: Final = LayerNorms(
    {"attention": "input_layernorm", "mlp": "pre_feedforward_layernorm"},
    {"attention": "post_attention_layernorm", "mlp": "post_feedforward_layernorm"},
)
BEHIND: Final = LayerNorms(
    {},
    {"attention": "post_attention_layernorm", "mlp": "post_feedforward_layernorm"},
)
OF_A_HEAD: Final = {"self_attn.q_norm.weight": HEAD, "self_attn.k_norm.weight": HEAD}
OVER_HEADS: Final = {"self_attn.q_norm.weight": "Q", "self_attn.k_norm.weight": "K"}
