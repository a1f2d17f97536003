"""A description is data: it survives its file, and an adapter follows from it alone."""

import pytest
from met_models import met_config

from globalprune.errors import UnsupportedArchitecture
from globalprune.models.discovery.description import FamilyDescription, adapter_of
from globalprune.models.discovery.discover import discover
from globalprune.models.discovery.sizes import SIZES


@pytest.fixture(scope="module")
def starcoder2() -> FamilyDescription:
    """A family with biases everywhere and no gate."""
    return discover(met_config("starcoder2"), SIZES)


def test_the_record_survives_its_file(starcoder2: FamilyDescription) -> None:
    """It is JSON, and nothing of it is lost."""
    text = starcoder2.model_dump_json()

    assert FamilyDescription.model_validate_json(text) == starcoder2


def test_sizes_are_written_in_config_keys(starcoder2: FamilyDescription) -> None:
    """So they hold for every model of the type."""
    attention, mlp = (own for _, own in starcoder2.sublayers())

    assert attention.groups == "num_key_value_heads"
    assert attention.tensors["self_attn.q_proj.weight"].blocks == (
        ("num_attention_heads*head_dim",),
        ("hidden_size",),
    )
    assert mlp.groups == "intermediate_size"
    assert mlp.tensors["mlp.c_fc.bias"].sliced == 0


def test_an_adapter_follows_from_the_description(starcoder2: FamilyDescription) -> None:
    """With norms that have biases, and an output that isn't called down_proj."""
    adapter = adapter_of(starcoder2)

    assert adapter.output_module("mlp") == "mlp.c_proj"
    assert adapter.gating("mlp") is None
    assert "input_layernorm.bias" in adapter.form.norms.tensors


def test_a_refused_sublayer_is_fixed_with_its_reason(starcoder2: FamilyDescription) -> None:
    """The other one is served; where both are refused, so is the type, with both reasons."""
    partly = starcoder2.without({"attention": "for a reason"})
    refused = partly.without({"mlp": "for another"})

    assert adapter_of(partly).form.fixed == ("attention",)
    assert adapter_of(partly).form.refused == {"attention": "for a reason"}
    assert (starcoder2.reason, partly.reason) == (None, None)
    assert refused.reason == "its attention: for a reason; its mlp: for another"


def test_what_the_adapter_cannot_express_is_refused(starcoder2: FamilyDescription) -> None:
    """A dimension of a size that no layer of grouped queries has."""
    assert starcoder2.mlp is not None
    tensors = dict(starcoder2.mlp.tensors)
    odd = tensors["mlp.c_fc.weight"].model_copy(update={"blocks": (("vocab_size",), ("1",))})
    mlp = starcoder2.mlp.model_copy(update={"tensors": tensors | {"mlp.c_fc.weight": odd}})

    with pytest.raises(UnsupportedArchitecture, match=r"mlp\.c_fc\.weight has a dimension of"):
        adapter_of(starcoder2.model_copy(update={"mlp": mlp}))


def test_an_output_that_is_not_the_only_one_of_its_width_is_refused(
    starcoder2: FamilyDescription,
) -> None:
    """The adapter would take the first of them."""
    assert starcoder2.mlp is not None
    mlp = starcoder2.mlp.model_copy(update={"output": "mlp.c_fc"})

    with pytest.raises(UnsupportedArchitecture, match="projections of its mlp have its width"):
        adapter_of(starcoder2.model_copy(update={"mlp": mlp}))
