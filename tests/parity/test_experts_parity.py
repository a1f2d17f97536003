"""The importances of experts' channels agree with plain autograd on the fused weights."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import measuring
import plain_autograd
import pytest
import torch
from tiny_models import MIXTURES, random_ids

ROWS = [*random_ids(4, 12, seed=1), *random_ids(2, 7, seed=2)]
PROMISED = 1e-4
NOTHING = 1e-15  # of an expert that no token met, or hardly
Tiny = Callable[[str], Path]


@pytest.mark.parametrize("family", MIXTURES)
@pytest.mark.parametrize(
    ("name", "reckoned"),
    [
        ("taylor", plain_autograd.first_order),
        ("fisher", plain_autograd.fisher),
        ("fisher_winsorised", partial(plain_autograd.fisher_winsorised, at_cap=2)),
    ],
    ids=["taylor", "fisher", "fisher_winsorised"],
)
def test_importances(
    tiny: Tiny, family: str, name: str, reckoned: Callable[..., plain_autograd.Groups]
) -> None:
    """Experts one by one, on the tokens that come to them, are the mixture as it was."""
    plain = measuring.loaded(tiny(family), torch.float64)
    plain.set_experts_implementation("eager")
    expected = reckoned(plain, ROWS)
    model = measuring.apart(tiny(family), torch.float64)
    sites = measuring.sites_of(model, tiny(family))

    found = measuring.importance(model, sites, ROWS, name)

    assert found.keys() == expected.keys()
    for key, value in expected.items():
        assert float(found[key]) == pytest.approx(float(value), rel=PROMISED, abs=NOTHING), key


@pytest.mark.parametrize("family", MIXTURES)
def test_curvature(tiny: Tiny, family: str) -> None:
    """The second term squares each window's gradient."""
    plain = measuring.loaded(tiny(family), torch.float64)
    plain.set_experts_implementation("eager")
    expected = plain_autograd.curvature(plain, ROWS)
    model = measuring.apart(tiny(family), torch.float64)
    sites = measuring.sites_of(model, tiny(family))

    found = measuring.by_group(
        measuring.measured(model, sites, ROWS, ["curvature"]).sums["curvature"]
    )

    for key, value in expected.items():
        assert float(found[key]) == pytest.approx(float(value), rel=PROMISED, abs=NOTHING), key


@pytest.mark.parametrize("family", MIXTURES)
def test_wanda_counts_every_token_of_the_text(tiny: Tiny, family: str) -> None:
    """A token that didn't come to an expert is one that its channels made nothing of."""
    model = measuring.apart(tiny(family), torch.float64)
    sites = measuring.sites_of(model, tiny(family))
    expert = model.model.layers[0].mlp.experts["1"]
    down = expert.get_submodule(expert.names[2])
    seen: list[torch.Tensor] = []
    handle = down.register_forward_pre_hook(lambda _, args: seen.append(args[0].detach()))
    for row in ROWS:
        model(input_ids=row[None])
    handle.remove()

    sums = measuring.measured(model, sites, ROWS, ["input_rms"]).sums["input_rms"]

    tokens = sum(map(len, ROWS))
    expected = (torch.cat(seen).square().sum(dim=0) / tokens).sqrt()
    torch.testing.assert_close(sums[0, "mlp"][8:16], expected.double())
