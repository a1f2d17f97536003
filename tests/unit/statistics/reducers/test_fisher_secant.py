"""Secants of gates, against the definition, group by group and in float64."""

from typing import Any

import pytest
import torch
from linear_sites import linear_site
from torch import nn
from transformers.models.gemma3.modeling_gemma3 import Gemma3RMSNorm
from transformers.models.olmo2.modeling_olmo2 import Olmo2RMSNorm

from globalprune.statistics.interface import Batch
from globalprune.statistics.post_norm import PostNorm
from globalprune.statistics.reducers import fisher
from globalprune.statistics.reducers.fisher import secant_gates

TOKENS, WIDTH = 9, 16
BATCH = Batch(0, windows=2, predicted=TOKENS - 1, scale=4.0)
NORMS: dict[str, Any] = {
    "counts from zero": lambda: Gemma3RMSNorm(WIDTH),
    "counts from one": lambda: Olmo2RMSNorm(WIDTH, eps=1e-5),
    "has a mean": lambda: nn.LayerNorm(WIDTH),
}


def drawn(*shape: int, seed: int) -> torch.Tensor:
    """Normal numbers."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def norm_of(kind: str) -> nn.Module:
    """A norm whose weights are all different."""
    norm: nn.Module = NORMS[kind]()
    with torch.no_grad():
        for number, parameter in enumerate(norm.parameters()):
            parameter.add_(0.3 * drawn(WIDTH, seed=10 + number))
    return norm


def normed(norm: Any, rows: torch.Tensor) -> torch.Tensor:
    """What the norm makes of rows, in float64."""
    if isinstance(norm, nn.LayerNorm):
        return norm.double()(rows)  # type: ignore[no-any-return]
    weight = norm.weight.double() + (1 if isinstance(norm, Gemma3RMSNorm) else 0)
    epsilon = getattr(norm, "eps", None) or norm.variance_epsilon
    made: torch.Tensor = weight * rows / (rows.square().mean(dim=-1, keepdim=True) + epsilon).sqrt()
    return made


@torch.no_grad()
def by_definition(site: Any, norm: Any, inputs: torch.Tensor, delta: torch.Tensor) -> torch.Tensor:
    """Each group's contribution by zeroing what it feeds."""
    weight, bias = site.linear.weight.detach().double(), site.linear.bias
    shift = 0 if bias is None else bias.detach().double()
    inputs, delta = inputs.double(), delta.double()
    whole = normed(norm, inputs @ weight.T + shift)
    width = inputs.shape[-1] // site.groups
    found = []
    for group in range(site.groups):
        others = inputs.clone()
        others[..., group * width : (group + 1) * width] = 0
        rest = normed(norm, others @ weight.T + shift)
        found.append(((whole - rest) * delta).sum(dim=(1, 2)))
    return torch.stack(found, dim=1) * BATCH.predicted / BATCH.scale


@pytest.mark.parametrize("kind", NORMS)
@pytest.mark.parametrize(("groups", "inputs"), [(24, 24), (3, 24), (1, 24), (1, 1)])
@pytest.mark.parametrize("bias", [False, True], ids=["plain", "bias"])
@pytest.mark.parametrize("numbers", [2**22, 100], ids=["at once", "in pieces"])
def test_any_groups_behind_any_norm(
    monkeypatch: pytest.MonkeyPatch, kind: str, groups: int, inputs: int, bias: bool, numbers: int
) -> None:
    """Channels and heads, one of them or many, in float32: the definition within its rounding."""
    monkeypatch.setattr(fisher, "_NUMBERS", numbers)
    weight = drawn(WIDTH, inputs, seed=1).tolist()
    shift = drawn(WIDTH, seed=2).tolist() if bias else None
    site = linear_site(weight, shift, groups=groups, side="columns")
    entering, delta = drawn(2, TOKENS, inputs, seed=3), drawn(2, TOKENS, WIDTH, seed=4)
    norm = norm_of(kind)
    post_norm = PostNorm.of(norm, site.linear.weight)
    made = site.linear(entering).detach()
    found = secant_gates(site, post_norm, entering, made, delta, BATCH)
    expected = by_definition(site, norm, entering, delta)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("loud", [1e2, 1e4, 1e6])
def test_a_channel_that_is_nearly_all_of_a_token(loud: float) -> None:
    """What is left without it is small beside it, and still what the norm blows up."""
    site = linear_site(drawn(WIDTH, 24, seed=1).tolist(), groups=24, side="columns")
    entering, delta = drawn(2, TOKENS, 24, seed=3), drawn(2, TOKENS, WIDTH, seed=4)
    entering[:, 0, 5] = loud
    norm = norm_of("counts from zero")
    post_norm = PostNorm.of(norm, site.linear.weight)
    made = site.linear(entering).detach()
    found = secant_gates(site, post_norm, entering, made, delta, BATCH)
    torch.testing.assert_close(
        found, by_definition(site, norm, entering, delta), rtol=1e-4, atol=1e-4
    )


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_reckoned_in_float32(dtype: torch.dtype) -> None:
    """Only the rounding of what passes is left, also where a group is all that there is."""
    for groups in (1, 3, 24):
        site = linear_site(
            drawn(WIDTH, 24, seed=1).tolist(), groups=groups, side="columns", dtype=dtype
        )
        entering, delta = drawn(2, TOKENS, 24, seed=3).to(dtype), drawn(2, TOKENS, WIDTH, seed=4)
        norm = norm_of("counts from zero").to(dtype)
        post_norm = PostNorm.of(norm, site.linear.weight)
        made = site.linear(entering).detach()
        found = secant_gates(site, post_norm, entering, made, delta.to(dtype), BATCH)
        expected = by_definition(site, norm, entering, delta.to(dtype))
        assert float((found - expected).norm() / expected.norm()) < 0.02
