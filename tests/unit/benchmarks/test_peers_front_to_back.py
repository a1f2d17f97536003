"""What layer-wise recipes see, and that their repairs mend what they promise to."""

from collections.abc import Callable
from pathlib import Path
from typing import Literal

import pytest
import torch
from peers import (
    flap,
    flap_ls,
    flap_ls_light,
    obs_sequential_ls,
    wanda_sp,
    wanda_sp_ls,
    wanda_sp_ls_sequential,
)
from peers.front_to_back import Method, prune_front_to_back, zeroed
from peers.least_squares import Gram
from recipe_subjects import emptied, inputs_of, logits_of, some_windows, subject_in

from globalprune.statistics.interface import Site, SublayerKey

Tiny = Callable[[str], Path]
Sees = Literal["dense", "layers", "sublayers"]
COUNTS: dict[SublayerKey, int] = {(0, "attention"): 2, (0, "mlp"): 9, (2, "mlp"): 4}


def grams_seen(folder: Path, sees: Sees) -> tuple[dict[SublayerKey, torch.Tensor], ...]:
    """Gram matrices that a method saw, those of the dense model, and those of the pruned one."""
    subject, windows = subject_in(folder), some_windows(length=40)
    dense = {
        sublayer: x.double().T @ x.double() for sublayer, x in inputs_of(subject, windows).items()
    }
    seen: dict[SublayerKey, torch.Tensor] = {}

    def score(site: Site, gram: Gram) -> torch.Tensor:
        seen[site.sublayer] = gram.matrix
        return gram.matrix.diagonal().reshape(site.groups, -1).sum(dim=1)

    method = Method(measure=Gram, score=score, repair=zeroed, sees=sees)
    prune_front_to_back(subject, windows, COUNTS, method)
    after = {
        sublayer: x.double().T @ x.double() for sublayer, x in inputs_of(subject, windows).items()
    }
    return seen, dense, after


@pytest.mark.parametrize(
    ("sees", "first_mlp_is_dense", "third_is_dense"),
    [("dense", True, True), ("layers", True, False), ("sublayers", False, False)],
)
def test_statistics_see_what_was_pruned_before(
    tiny: Tiny, sees: Sees, first_mlp_is_dense: bool, third_is_dense: bool
) -> None:
    """The sublayer before counts in one kind of method, layers before in two, nothing in one."""
    seen, dense, after = grams_seen(tiny("llama"), sees)

    is_dense: dict[SublayerKey, bool] = {(0, "mlp"): first_mlp_is_dense, (2, "mlp"): third_is_dense}
    for sublayer, unpruned in is_dense.items():
        expected = dense[sublayer] if unpruned else after[sublayer]
        torch.testing.assert_close(seen[sublayer], expected, rtol=1e-4, atol=1e-3)
        assert not torch.allclose(dense[sublayer], after[sublayer], rtol=1e-4, atol=1e-3)
    assert set(seen) == set(COUNTS)


def test_wandas_scores_are_weights_times_norms(tiny: Tiny) -> None:
    """A group's score is Σ_j mean_i |W_ij| · ‖x_j‖, written out."""
    subject, windows = subject_in(tiny("llama")), some_windows()
    site = subject.outputs[1, "attention"]
    inputs = inputs_of(subject, windows)[1, "attention"]
    gram = Gram()
    gram.take(inputs)

    found = wanda_sp.scores(site, gram)

    width = site.linear.in_features // site.groups
    for group in range(site.groups):
        terms = [
            site.linear.weight[:, j].abs().mean() * inputs[:, j].norm()
            for j in range(group * width, (group + 1) * width)
        ]
        torch.testing.assert_close(found[group].float(), torch.stack(terms).sum())


def test_flap_with_least_squares_takes_what_flap_ranks_lowest(tiny: Tiny) -> None:
    """Its groups are FLAP's own, but for those that make up for FLAP's biases; no bias is added."""
    subject, windows = subject_in(tiny("llama_tied_bias")), some_windows(length=40)
    biased = subject_in(tiny("llama_tied_bias"))
    flap.prune(biased, windows, 5000)  # this family has its biases already

    flap_ls.prune(subject, windows, 5000)

    for sublayer, gone in emptied(subject).items():
        assert torch.equal(gone, emptied(biased)[sublayer])
        bias = subject.outputs[sublayer].linear.bias
        dense = subject_in(tiny("llama_tied_bias")).outputs[sublayer].linear.bias
        assert torch.equal(bias, dense)


def test_a_lighter_ridge_fits_its_own_text_better(tiny: Tiny) -> None:
    """What the shrinking costs is seen on the calibration text."""
    windows = some_windows(length=100)
    dense = logits_of(subject_in(tiny("qwen2")), windows)
    left = []
    for damp in (0.3, flap_ls_light.LIGHT_DAMP):
        subject = subject_in(tiny("qwen2"))
        flap_ls.prune_with(subject, windows, subject.structure.parameters // 8, damp)
        left.append((logits_of(subject, windows) - dense).square().mean())

    assert left[1] < left[0]


@pytest.mark.parametrize(
    "prune",
    [wanda_sp_ls.prune, wanda_sp_ls_sequential.prune, obs_sequential_ls.prune],
    ids=["one shot", "sequential", "surgeon"],
)
def test_reconstruction_brings_the_model_back(tiny: Tiny, prune: Callable[..., int]) -> None:
    """On its own calibration text a repaired model answers more like the dense one."""
    windows = some_windows(length=100)
    need = subject_in(tiny("qwen2")).structure.parameters // 8
    dense = logits_of(subject_in(tiny("qwen2")), windows)
    left = []
    for recipe in (wanda_sp.prune, prune):
        subject = subject_in(tiny("qwen2"))
        recipe(subject, windows, need)
        left.append((logits_of(subject, windows) - dense).square().mean())

    assert left[1] < 0.8 * left[0]
