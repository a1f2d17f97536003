"""Norms between a sublayer and the residual stream: their closed form, and where none may stand."""

from collections.abc import Callable
from pathlib import Path

import measuring
import pytest
import torch
from torch import nn
from transformers.models.gemma3.modeling_gemma3 import Gemma3RMSNorm
from transformers.models.olmo2.modeling_olmo2 import Olmo2RMSNorm

from globalprune.errors import UnsupportedArchitecture
from globalprune.statistics.post_norm import PostNorm, post_norm_module

WIDTH = 16
Tiny = Callable[[str], Path]


@pytest.mark.parametrize(
    ("norm", "epsilon"),
    [(Gemma3RMSNorm(WIDTH), 1e-6), (Olmo2RMSNorm(WIDTH, eps=1e-5), 1e-5)],
    ids=["counts from zero", "counts from one"],
)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64], ids=str)
def test_a_root_mean_square_norm_is_recognised(
    norm: nn.Module, epsilon: float, dtype: torch.dtype
) -> None:
    """Its weight and its epsilon are found by running it, in float32 at the least."""
    with torch.no_grad():
        [weight] = norm.parameters()
        weight.copy_(torch.linspace(0.5, 1.5, WIDTH))
    found = PostNorm.of(norm, torch.zeros(WIDTH, 4, dtype=dtype))
    assert found.rms is not None
    assert found.rms.epsilon == pytest.approx(epsilon, rel=0.1)
    rows = torch.randn(5, WIDTH, generator=torch.Generator().manual_seed(1))
    rows = rows.to(torch.promote_types(dtype, torch.float32))
    torch.testing.assert_close(found.rms.normalise(rows), found.wide(rows))


def test_a_norm_that_takes_off_the_mean_has_no_closed_form() -> None:
    """The module itself runs then."""
    found = PostNorm.of(nn.LayerNorm(WIDTH), torch.zeros(WIDTH, 4))
    assert found.rms is None


def test_a_norm_behind_experts_is_refused(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    """The router scales what a group adds before the norm sees it."""
    adapter, structure = measuring.described(tiny("qwen3_moe"))
    model = measuring.apart(tiny("qwen3_moe"))
    assert post_norm_module(model, adapter, structure, 0, "mlp") is None
    monkeypatch.setattr(type(adapter), "post_norm", lambda *_: "norm")
    with pytest.raises(
        UnsupportedArchitecture, match=r"^qwen3_moe: a norm stands behind the experts of layer 0, "
    ):
        post_norm_module(model, adapter, structure, 0, "mlp")
