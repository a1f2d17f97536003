"""Behind a norm, `fisher` still tells what a group and a whole sublayer are worth.

Scaling all of a sublayer changes nothing behind such a norm, so derivatives along its gates add up
to zero; with a single key/value head an attention would be worth nothing, and be cut first.
"""

import sys
from pathlib import Path
from typing import Any

import measuring
import plain_autograd
import pytest
import torch
from scipy.stats import spearmanr
from tiny_models import CONFIGS, MIXTURES, random_ids, save_tiny, tiny_config, tiny_model

from globalprune.statistics import hooks

ROWS = list(random_ids(12, 24, seed=2))
Key = tuple[int, str, int]
BEHIND = [name for name in CONFIGS | MIXTURES if plain_autograd.has_norms_behind(tiny_model(name))]


def cases() -> list[tuple[str, int]]:
    """Every family of that kind, with one key/value head and with several."""
    return [
        (name, heads)
        for name in BEHIND
        for heads in (1, max(2, tiny_config(name).num_key_value_heads))
    ]


@pytest.mark.parametrize(("family", "heads"), cases())
def test_importances_follow_what_is_really_lost(tmp_path: Path, family: str, heads: int) -> None:
    """KL of taking out single groups, by rank; and of whole sublayers, within a factor of four."""
    folder = save_tiny(tmp_path, family, seed=4, num_key_value_heads=heads)
    model = measuring.loaded(folder)
    worth = measuring.importance(model, measuring.sites_of(model, folder), ROWS, "fisher", 4)
    keys = [*_of(worth, "attention"), *_of(worth, "mlp")[::6]]
    lost = [_divergence(model, [key]) for key in keys]

    ranks = spearmanr(lost, [float(worth[key]) for key in keys])[0]
    shares = [
        sum(float(worth[key]) for key in whole) / _divergence(model, whole)
        for whole in _sublayers(worth)
    ]
    sys.stdout.write(f"{family} {heads}: {ranks:.2f}, {min(shares):.2f} to {max(shares):.2f}\n")
    assert ranks > 0.7
    assert min(shares) > 1 / 4
    assert max(shares) < 4


def test_derivatives_alone_see_nothing_of_a_single_head(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the norm hides from them is not little: without it the secants would be for nothing."""
    folder = save_tiny(tmp_path, "gemma3", seed=4, num_key_value_heads=1)
    model = measuring.loaded(folder)
    monkeypatch.setattr(hooks, "post_norm_module", lambda *_: None)
    worth = measuring.importance(model, measuring.sites_of(model, folder), ROWS, "fisher", 4)
    for key in _of(worth, "attention"):
        assert float(worth[key]) < 1e-9 * _divergence(model, [key])


def _sublayers(worth: Any) -> list[list[Key]]:
    """The groups of every sublayer."""
    places = dict.fromkeys(key[:2] for key in worth)
    return [[key for key in worth if key[:2] == place] for place in places]


def _of(worth: Any, kind: str) -> list[Key]:
    """The groups of a kind."""
    return [key for key in worth if key[1] == kind]


@torch.no_grad()
def _divergence(model: Any, gone: list[Key]) -> float:
    """KL(model || model without these groups), in nats a token."""
    ids = torch.stack(ROWS)
    before = model(ids).logits.double().log_softmax(-1)
    parameters = dict(model.named_parameters())
    kept = []
    for key in gone:
        name, where = list(plain_autograd.slices(model, *key))[-1]
        kept.append((name, where, parameters[name][where].clone()))
        parameters[name][where] = 0
    after = model(ids).logits.double().log_softmax(-1)
    for name, where, values in kept:
        parameters[name][where] = values
    return float((before.exp() * (before - after)).sum(-1).mean())
