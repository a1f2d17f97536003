"""Norms, FLAP's, LLM-Pruner's and ShortGPT's formulas, against computing them another way."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import measuring
import pytest
import torch
from peers import flap, llm_pruner, magnitude_global, shortgpt
from peers.allocation import lowest
from peers.subject import Gone, columns, take_out
from recipe_subjects import (
    emptied,
    inputs_of,
    logits_of,
    parameters_emptied,
    some_windows,
    subject_in,
)

from globalprune.statistics.interface import SublayerKey

Tiny = Callable[[str], Path]


def moments_of(inputs: torch.Tensor) -> flap.Moments:
    """FLAP's statistics of inputs, taken in two batches."""
    found = flap.Moments()
    found.take(inputs[:50])
    found.take(inputs[50:])
    return found


@pytest.mark.parametrize("kind", ["attention", "mlp"])
def test_fluctuation_is_standardised_within_a_sublayer(tiny: Tiny, kind: str) -> None:
    """Var(x_j)·‖W_:j‖², squared for attention, less its mean, by its deviation, averaged."""
    subject, windows = subject_in(tiny("llama")), some_windows()
    sublayer = (2, kind)
    site, inputs = subject.outputs[sublayer], inputs_of(subject, windows)[sublayer]  # type: ignore[index]
    metric = inputs.double().var(dim=0, correction=0) * site.linear.weight.double().norm(dim=0) ** 2
    metric = metric**2 if kind == "attention" else metric
    expected = ((metric - metric.mean()) / metric.std()).reshape(site.groups, -1).mean(dim=1)

    found = flap.fluctuation(site, moments_of(inputs))

    torch.testing.assert_close(found, expected.detach(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("family", ["qwen3", "llama_tied_bias"])
def test_flaps_bias_keeps_an_outputs_mean(tiny: Tiny, family: str) -> None:
    """With the columns gone and the bias there, the mean output over the text is as before."""
    subject, windows = subject_in(tiny(family)), some_windows()
    sublayer = (0, "attention")
    site, inputs = subject.outputs[sublayer], inputs_of(subject, windows)[sublayer]  # type: ignore[index]
    before = site.linear(inputs).mean(dim=0)
    gone: Gone = {h: lowest(torch.zeros(s.groups), 1) for h, s in subject.outputs.items()}
    means = {h: moments_of(x).mean for h, x in inputs_of(subject, windows).items()}

    flap.add_biases(subject, gone, means)
    take_out(subject, gone)

    assert columns(site, gone[sublayer]).any()  # type: ignore[index]
    torch.testing.assert_close(site.linear(inputs).mean(dim=0), before)


@pytest.mark.parametrize(("family", "added"), [("qwen3", 8 * 32), ("llama_tied_bias", 0)])
def test_flap_makes_up_for_the_biases_that_it_adds(tiny: Tiny, family: str, added: int) -> None:
    """New biases are parameters: the groups that go hold them besides what was asked."""
    subject = subject_in(tiny(family))

    removed = flap.prune(subject, some_windows(), 4000)

    assert parameters_emptied(subject) - added == removed >= 4000


@pytest.mark.parametrize("family", ["llama_tied_bias", "qwen2"])
def test_llm_pruners_scores_are_the_first_order(tiny: Tiny, family: str) -> None:
    """Element-wise Taylor by autograd is what our own pass measures as `taylor`."""
    subject, windows = subject_in(tiny(family)), some_windows()

    found = llm_pruner.taylor_scores(subject, windows)

    model = measuring.loaded(tiny(family))
    sites = measuring.sites_of(model, tiny(family))
    rows = list(windows.rows)
    expected = measuring.importance(model, sites, rows, "taylor", 2)
    assert measuring.largest_difference(measuring.by_group(found), expected) < 1e-4


@pytest.mark.parametrize(
    ("layers", "expected"), [(32, range(4, 30)), (30, range(4, 28)), (28, range(4, 26))]
)
def test_llm_pruner_leaves_both_ends_whole(layers: int, expected: range) -> None:
    """Its README's 4 to 30 of 32 layers, in proportion."""
    assert llm_pruner.middle_layers(layers) == expected


def test_block_influence_is_what_a_layer_turns(tiny: Tiny) -> None:
    """1 - mean cosine between the model's own hidden states; a silent layer turns nothing."""
    subject, windows = subject_in(tiny("llama_tied_bias")), some_windows()
    shortgpt.silence(subject, 1)
    ids = torch.stack(windows.rows)
    with torch.no_grad():
        states = subject.model(input_ids=ids, output_hidden_states=True).hidden_states
    cosines = [torch.cosine_similarity(states[i], states[i + 1], dim=-1).mean() for i in range(3)]

    found = shortgpt.block_influences(subject, windows)

    torch.testing.assert_close(found[:3].float(), 1 - torch.stack(cosines), atol=1e-5, rtol=1e-4)
    assert abs(float(found[1])) < 1e-6


def test_a_dropped_layer_changes_nothing_but_itself(tiny: Tiny) -> None:
    """ShortGPT's model answers as one whose layer list is shorter."""
    subject, windows = subject_in(tiny("llama_tied_bias")), some_windows()
    removed = shortgpt.prune(subject, windows, 100)
    silent = next(sublayer[0] for sublayer, groups in emptied(subject).items() if groups.all())
    found = logits_of(subject, windows)
    base: Any = subject.model.base_model

    before = sum(p.numel() for p in subject.model.parameters())
    del base.layers[silent]

    torch.testing.assert_close(logits_of(subject, windows), found)
    assert removed == before - sum(p.numel() for p in subject.model.parameters())


def test_a_global_magnitude_counts_for_each_parameter(tiny: Tiny) -> None:
    """An attention group of weak weights goes before channels, although its sum is larger."""
    subject = subject_in(tiny("llama"))
    sublayer: SublayerKey = (1, "attention")
    with torch.no_grad():
        for site in subject.sites:
            if site.sublayer == sublayer:
                site.linear.weight *= 0.3

    magnitude_global.prune(subject, some_windows(), 2 * subject.cost(sublayer))

    gone = emptied(subject)
    assert int(gone[sublayer].sum()) == 2
    assert sum(int(groups.sum()) for groups in gone.values()) == 2
