"""Gate and up are told apart by what enters the activation."""

from typing import Any

import pytest
from met_models import met_config

from globalprune.models.architecture import GatingModules
from globalprune.models.discovery.double_arithmetic import DoubleArithmetic
from globalprune.models.discovery.groups import find_gating
from globalprune.models.discovery.layer_run import run_layers
from globalprune.models.discovery.sizes import SIZES
from globalprune.models.discovery.small_model import random_ids, random_model, small_config


@pytest.mark.parametrize(
    ("model_type", "overrides", "expected"),
    [
        ("llama", {"mlp_bias": True}, GatingModules(("gate_proj", "up_proj"), "act_fn")),
        ("phi3", {}, GatingModules(("gate_up_proj",), "activation_fn")),
        ("starcoder2", {}, None),
        ("nemotron", {}, None),
    ],
)
def test_the_input_side_of_an_mlp(
    model_type: str, overrides: dict[str, Any], expected: GatingModules | None
) -> None:
    """Two linears, one that fuses both, or no gate."""
    config = small_config(met_config(model_type, **overrides), SIZES[0])
    with DoubleArithmetic():
        run = run_layers(random_model(config, 0), random_ids(64))[0]
        assert find_gating(run.body("mlp")) == expected
