"""Which linear layers the groups own parts of."""

from collections.abc import Callable
from pathlib import Path

import measuring
import pytest
import torch
from tiny_models import tiny_model
from torch import nn
from uneven_models import save_uneven, uneven_cut

from globalprune.errors import CheckpointError
from globalprune.models.loading import load_model

Tiny = Callable[[str], Path]
ATTENTION = ("q_proj", "k_proj", "v_proj", "o_proj")


@pytest.mark.parametrize(
    ("family", "with_bias"),
    [
        ("llama", set()),
        ("qwen2", {"q_proj", "k_proj", "v_proj"}),
        ("llama_tied_bias", {"q_proj", "k_proj", "v_proj", "gate_proj", "up_proj"}),
    ],
)
def test_groups_own_the_biases_of_their_rows(tiny: Tiny, family: str, with_bias: set[str]) -> None:
    """Biases of q, k, v, gate and up count where there are any; output biases never."""
    sites = measuring.sites_of(measuring.loaded(tiny(family)), tiny(family))
    owned = {site.name.rpartition(".")[2] for site in sites if "bias" in site.axes}
    assert owned == with_bias
    assert all("weight" in site.axes for site in sites)


def test_only_the_layers_asked_for_have_sites(tiny: Tiny) -> None:
    """In the order in which they are computed; what the groups feed is marked."""
    model = measuring.loaded(tiny("llama"))
    sites = measuring.sites_of(model, tiny("llama"), range(1, 3))
    expected = [
        f"model.layers.{layer}.{name}"
        for layer in (1, 2)
        for name in (
            *(f"self_attn.{projection}" for projection in ATTENTION),
            *(f"mlp.{projection}" for projection in ("gate_proj", "up_proj", "down_proj")),
        )
    ]
    assert [site.name for site in sites] == expected
    outputs = {site.name.rpartition(".")[2] for site in sites if site.is_output}
    assert outputs == {"o_proj", "down_proj"}


def test_an_empty_sublayer_has_no_site(tmp_path: Path) -> None:
    """An earlier cut took its projections away."""
    save_uneven(tmp_path, tiny_model("llama"), uneven_cut("llama"))
    sites = measuring.sites_of(load_model(tmp_path), tmp_path)
    groups = {site.sublayer: site.groups for site in sites}
    assert groups == {
        (0, "mlp"): 24,
        (1, "attention"): 1,
        (1, "mlp"): 4,
        (2, "attention"): 4,
        (3, "attention"): 1,
        (3, "mlp"): 7,
    }


def test_a_layer_that_is_not_plain_linear_is_refused(tiny: Tiny) -> None:
    """What a quantised or adapted layer multiplies with is not its weight alone."""

    class Adapted(nn.Module):
        """Stands where a linear layer stood."""

    model = measuring.loaded(tiny("llama"))
    model.model.layers[2].mlp.up_proj = Adapted()
    with pytest.raises(
        CheckpointError,
        match=r"^model\.layers\.2\.mlp\.up_proj: is a Adapted and not a plain linear layer; "
        r"load the model without quantisation or adapters\.$",
    ):
        measuring.sites_of(model, tiny("llama"))


def test_a_model_of_another_size_is_refused(tiny: Tiny) -> None:
    """Sums over the wrong rows would look like any other numbers."""
    model = measuring.loaded(tiny("llama"))
    model.model.layers[1].mlp.down_proj = nn.Linear(23, 32, bias=False)
    with pytest.raises(
        CheckpointError,
        match=r"^model\.layers\.1\.mlp\.down_proj\.weight: has 23 along dimension 1 in the loaded "
        r"model, 24 in its checkpoint; the checkpoint was not loaded whole\.$",
    ):
        measuring.sites_of(model, tiny("llama"))


def test_a_parameter_is_handed_out_wide_and_outside_of_any_graph(tiny: Tiny) -> None:
    """Products with half-precision weights are made in float32."""
    model = measuring.loaded(tiny("qwen2"), torch.bfloat16)
    site = measuring.sites_of(model, tiny("qwen2"))[0]
    for name in site.axes:
        found, stored = site.parameter(name), getattr(site.linear, name)
        assert found.dtype == torch.float32
        assert not found.requires_grad
        assert torch.equal(found, stored.float())
