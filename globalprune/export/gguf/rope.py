"""Rotary positions as llama.cpp reads them: keys for what it computes itself, else factors.

Llama 3 divides each frequency by a factor of its own (https://arxiv.org/abs/2407.21783): short
waves stay, long ones are stretched, and between them it goes smoothly from one to the other.
"""

from typing import Any, Final

import gguf
import numpy as np
from numpy.typing import NDArray

from globalprune.errors import UsageError

FACTORS: Final = "rope_freqs.weight"
_YARN_DEFAULTS: Final[dict[str, tuple[float | bool | None, ...]]] = {
    "attention_factor": (None,),
    "mscale": (None,),
    "mscale_all_dim": (None,),
    "beta_fast": (None, 32),
    "beta_slow": (None, 1),
    "truncate": (None, True),
}


def refuse_strange_rope(rope: dict[str, Any], where: str) -> None:
    """Raise `UsageError` for what the file has no word for."""
    odd = [key for key, known in _YARN_DEFAULTS.items() if rope.get(key) not in known]
    if rope.get("partial_rotary_factor") not in (None, 1):
        odd.append("partial_rotary_factor")
    if odd:
        raise UsageError(
            f"{where}: config.json: gp export has no form for rope's {', '.join(odd)}."
        )


def add_rope(writer: gguf.GGUFWriter, rope: dict[str, Any], head_dim: int) -> None:
    """Write the keys of a config's `rope_parameters`."""
    writer.add_rope_dimension_count(head_dim)
    writer.add_rope_freq_base(rope["rope_theta"])
    kind = rope.get("rope_type", "default")
    if kind in ("linear", "yarn"):
        writer.add_rope_scaling_type(gguf.RopeScalingType(kind))
        writer.add_rope_scaling_factor(rope["factor"])
    if kind == "yarn":
        writer.add_rope_scaling_orig_ctx_len(rope["original_max_position_embeddings"])


def frequency_factors(rope: dict[str, Any], head_dim: int) -> NDArray[np.float32] | None:
    """What each frequency is divided by, `[head_dim / 2]`; None where no file needs to say."""
    if rope.get("rope_type") != "llama3":
        return None
    exponents = np.arange(0, head_dim, 2) / head_dim
    waves = 2 * np.pi * rope["rope_theta"] ** exponents
    turns = rope["original_max_position_embeddings"] / waves  # within the original context
    slow, fast = rope["low_freq_factor"], rope["high_freq_factor"]
    share = np.clip((turns - slow) / (fast - slow), 0, 1)
    factors: NDArray[np.float32] = (1 / (share + (1 - share) / rope["factor"])).astype(np.float32)
    return factors
