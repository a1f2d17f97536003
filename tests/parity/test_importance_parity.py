"""The importances agree with an independent computation from plain autograd in float64."""

from collections.abc import Callable
from pathlib import Path

import measuring
import plain_autograd
import pytest
import torch
from tiny_models import random_ids

FAMILIES = ("llama", "llama_tied_bias", "llama_one_kv", "mistral", "qwen2", "qwen3")
RAGGED = [*random_ids(5, 12, seed=1), *random_ids(3, 7, seed=2), *random_ids(1, 2, seed=3)]
PROMISED = 1e-4
Tiny = Callable[[str], Path]


@pytest.mark.parametrize("batch_size", [1, 4])
@pytest.mark.parametrize("family", FAMILIES)
class TestParity:
    """Every statistic, family and batch size; windows of three lengths."""

    def test_taylor(self, tiny: Tiny, family: str, batch_size: int) -> None:
        """Taylor is the sum of |θ·ḡ|, input-side biases included, output biases not."""
        expected = plain_autograd.first_order(reference(tiny(family)), RAGGED)
        model = measuring.loaded(tiny(family))
        sites = measuring.sites_of(model, tiny(family))

        found = measuring.importance(model, sites, RAGGED, "taylor", batch_size)

        assert measuring.largest_difference(found, expected) < PROMISED

    def test_curvature(self, tiny: Tiny, family: str, batch_size: int) -> None:
        """The second term alone squares each window's gradient, weighted by its tokens."""
        expected = plain_autograd.curvature(reference(tiny(family)), RAGGED)
        model = measuring.loaded(tiny(family))
        sites = measuring.sites_of(model, tiny(family))

        sums = measuring.measured(model, sites, RAGGED, ["curvature"], batch_size).sums
        found = measuring.by_group(sums["curvature"])

        assert measuring.largest_difference(found, expected) < PROMISED

    def test_taylor_2nd(self, tiny: Tiny, family: str, batch_size: int) -> None:
        """Both terms together are their sum, from one pass."""
        plain = reference(tiny(family))
        first, second = (
            plain_autograd.first_order(plain, RAGGED),
            plain_autograd.curvature(plain, RAGGED),
        )
        model = measuring.loaded(tiny(family))
        sites = measuring.sites_of(model, tiny(family))

        found = measuring.importance(model, sites, RAGGED, "taylor_2nd", batch_size)

        expected = {key: first[key] + second[key] for key in first}
        assert measuring.largest_difference(found, expected) < PROMISED

    def test_fisher(self, tiny: Tiny, family: str, batch_size: int) -> None:
        """Fisher squares each window's derivative of the summed loss along the group's gate."""
        expected = plain_autograd.fisher(reference(tiny(family)), RAGGED)
        model = measuring.loaded(tiny(family), torch.float64)
        sites = measuring.sites_of(model, tiny(family))

        found = measuring.importance(model, sites, RAGGED, "fisher", batch_size)

        assert measuring.largest_difference(found, expected) < PROMISED

    def test_fisher_winsorised(self, tiny: Tiny, family: str, batch_size: int) -> None:
        """Of nine windows the largest is lowered to the second, as both are for their lengths."""
        expected = plain_autograd.fisher_winsorised(reference(tiny(family)), RAGGED, at_cap=2)
        model = measuring.loaded(tiny(family), torch.float64)
        sites = measuring.sites_of(model, tiny(family))

        found = measuring.importance(model, sites, RAGGED, "fisher_winsorised", batch_size)

        assert measuring.largest_difference(found, expected) < PROMISED

    def test_wanda(self, tiny: Tiny, family: str, batch_size: int) -> None:
        """Wanda's activations are those that enter o_proj and down_proj, after the gate."""
        expected = plain_autograd.wanda(reference(tiny(family)), RAGGED)
        model = measuring.loaded(tiny(family))
        sites = measuring.sites_of(model, tiny(family))

        found = measuring.importance(model, sites, RAGGED, "wanda", batch_size)

        assert measuring.largest_difference(found, expected) < PROMISED


def reference(folder: Path) -> torch.nn.Module:
    """The same weights in float64."""
    model: torch.nn.Module = measuring.loaded(folder, torch.float64)
    return model
