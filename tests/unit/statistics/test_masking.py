"""A masked model says what the cut one says, and is the model that it was behind the mask."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from measuring import apart, described, sites_of
from tiny_models import random_ids

from globalprune.statistics.loss import window_losses
from globalprune.statistics.masking import masked

Tiny = Callable[[str], Path]


@pytest.mark.parametrize("family", ["gemma3", "qwen3_moe", "olmo2"])
def test_masked_groups_add_nothing(tiny: Tiny, family: str) -> None:
    """As zeros in the columns of the output projections would have it, experts' too."""
    model = apart(tiny(family)).eval()
    _, structure = described(tiny(family))
    sites = sites_of(model, tiny(family))
    gone = {
        (layer, kind): np.arange(sublayer.groups // 2)
        for layer, kind, sublayer in structure.sublayers()
        if sublayer.candidates
    }
    ids = random_ids(2, 12)
    with torch.no_grad():
        dense = window_losses(model, ids)
        with masked(sites, gone):
            behind = window_losses(model, ids)
        again = window_losses(model, ids)
        for site in sites:
            if site.is_output:
                width = site.linear.in_features // site.groups
                own = gone[site.sublayer] - site.first
                for group in own[(own >= 0) & (own < site.groups)]:
                    site.linear.weight[:, group * width : (group + 1) * width] = 0
        zeroed = window_losses(model, ids)

    assert again == dense
    assert behind == pytest.approx(zeroed, rel=1e-6)
    assert behind != pytest.approx(dense, rel=1e-3)
