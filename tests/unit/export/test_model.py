"""Rotary positions: factors by the published rule, and nothing lost in silence."""

from typing import Any

import numpy as np
import pytest
from tiny_models import tiny_config
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

from globalprune.errors import UsageError
from globalprune.export.model import frequency_factors, refuse_unsupported_rope

LLAMA_3: dict[str, Any] = {
    "rope_type": "llama3",
    "rope_theta": 500000.0,
    "factor": 32.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}
YARN: dict[str, Any] = {"rope_type": "yarn", "rope_theta": 1e4, "factor": 4.0}


def test_factors_are_those_of_transformers() -> None:
    """Of Llama 3.2's own figures, whose frequencies fall on both sides and between."""
    config = tiny_config("llama", head_dim=64, rope_parameters=LLAMA_3)
    scaled, _ = ROPE_INIT_FUNCTIONS["llama3"](config, "cpu")
    plain = 1 / LLAMA_3["rope_theta"] ** (np.arange(0, 64, 2) / 64)
    factors = frequency_factors(LLAMA_3, 64)

    assert factors is not None
    np.testing.assert_allclose(factors, plain / scaled.numpy(), rtol=1e-5)
    assert factors.min() == 1
    assert factors.max() == 32
    assert frequency_factors(YARN, 64) is None


@pytest.mark.parametrize(
    ("more", "named"),
    [
        ({"partial_rotary_factor": 0.5}, "partial_rotary_factor"),
        ({"attention_factor": 1.3}, "attention_factor"),
        ({"beta_fast": 16, "truncate": False}, "beta_fast, truncate"),
    ],
)
def test_what_has_no_key_is_refused_by_name(more: dict[str, Any], named: str) -> None:
    """The defaults, written out or not, pass."""
    refuse_unsupported_rope(YARN | {"beta_fast": 32.0, "beta_slow": 1, "truncate": True}, "m")
    refuse_unsupported_rope(YARN | {"partial_rotary_factor": 1.0}, "m")
    with pytest.raises(UsageError, match=f"^m: config.json: gp export has no form for .* {named}"):
        refuse_unsupported_rope(YARN | more, "m")
