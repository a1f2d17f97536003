"""The final norm is scaled for the cut model, where that brings its predictions nearer."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from compensating import ROWS, running
from hypothesis import given, settings
from hypothesis import strategies as st
from measuring import windows_of
from tiny_models import FAMILIES, random_ids
from torch import nn
from torch.nn import functional

from globalprune.compensation import final_norm
from globalprune.compensation.final_norm import compensate_final_norm, fit_logit_scales
from globalprune.models.registry import adapter_for
from globalprune.sublayers.residual_stream import StreamBatch, SublayerModel, stream_batches

Tiny = Callable[[str], Path]
IDS = random_ids(ROWS, 24)


def behind_the_last_layer(
    folder: Path, dtype: torch.dtype = torch.float32
) -> tuple[SublayerModel, list[StreamBatch]]:
    """A model, and streams that have come through it, the cut one's with noise of its own."""
    found = running(folder, dtype)
    windows = windows_of(list(IDS))
    batches = stream_batches(found, windows, batch_size=3, held_out_every=4)
    noise = torch.Generator().manual_seed(0)
    for batch in batches:
        for sublayer in found.sublayers:
            batch.dense = sublayer.advance(batch.dense, batch.calls).detach()
        size = batch.dense.std()
        batch.pruned = batch.dense + size * torch.randn(batch.dense.shape, generator=noise).to(
            dtype
        )
    return found, batches


def held_out(batches: list[StreamBatch], *, pruned: bool) -> torch.Tensor:
    """One of the streams of the windows that judge, `[tokens, D]`."""
    streams = [batch.pruned if pruned else batch.dense for batch in batches]
    return torch.cat(
        [batch.tokens(rows, held_out=True) for batch, rows in zip(batches, streams, strict=True)]
    )


def says(model: Any, stream: torch.Tensor) -> torch.Tensor:
    """Log-probabilities of what a stream comes to behind the last layer."""
    logits = model.lm_head(model.model.norm(stream)) / getattr(model.config, "logits_scaling", 1)
    cap = getattr(model.config, "final_logit_softcapping", None)
    logits = logits if cap is None else cap * torch.tanh(logits / cap)
    return logits.log_softmax(-1)  # type: ignore[no-any-return]


@pytest.mark.parametrize("family", FAMILIES)
def test_the_figures_are_of_the_model_with_its_norm_rescaled(tiny: Tiny, family: str) -> None:
    """Written into the norm's weight, the scales bring what the model itself says nearer."""
    model, batches = behind_the_last_layer(tiny(family))
    found = compensate_final_norm(model, batches, IDS[0])
    assert found is not None
    assert found.scales is not None
    with torch.no_grad():
        said = says(model.module, held_out(batches, pruned=False))
        before = says(model.module, held_out(batches, pruned=True))
        offset = adapter_for(model.module.config.to_dict()).final_norm_offset
        model.final_norm.weight.add_(offset).mul_(found.scales).sub_(offset)
        after = says(model.module, held_out(batches, pruned=True))
    was, became = (float((said.exp() * (said - ours)).sum(-1).mean()) for ours in (before, after))
    assert found.divergence_before == pytest.approx(was, rel=1e-4)
    assert became < found.divergence_after < was  # the figure is of tokens not fitted to


def test_an_uncut_model_needs_none(tiny: Tiny) -> None:
    """Streams that are one tensor say so."""
    model, batches = behind_the_last_layer(tiny("llama"))
    for batch in batches:
        batch.pruned = batch.dense
    assert compensate_final_norm(model, batches, IDS[0]) is None


def test_a_cap_that_bites_is_part_of_the_fit(tiny: Tiny) -> None:
    """Where logits are no longer linear in the scales, what is judged is still the capped model."""
    model, batches = behind_the_last_layer(tiny("gemma2"))
    model.module.config.final_logit_softcapping = 0.5 * float(
        model.module(IDS[:1]).logits.detach().abs().max()
    )
    found = compensate_final_norm(model, batches, IDS[0])
    assert found is not None
    with torch.no_grad():
        said, before = (says(model.module, held_out(batches, pruned=cut)) for cut in (False, True))
    was = float((said.exp() * (said - before)).sum(-1).mean())
    assert found.divergence_before == pytest.approx(was, rel=1e-4)
    assert found.divergence_after < was


def test_half_precision_is_fitted_in_float32(tiny: Tiny) -> None:
    """The head computes wider while scales are fitted to it, and is what it was behind that."""
    model, batches = behind_the_last_layer(tiny("granite"))
    exact = compensate_final_norm(model, batches, IDS[0])
    model, batches = behind_the_last_layer(tiny("granite"), torch.bfloat16)
    weight = model.module.lm_head.weight.detach().clone()
    found = compensate_final_norm(model, batches, IDS[0])
    assert model.module.lm_head.weight.dtype == torch.bfloat16
    assert torch.equal(model.module.lm_head.weight, weight)
    assert exact is not None
    assert exact.scales is not None
    assert found is not None
    assert found.scales is not None
    torch.testing.assert_close(found.scales.float(), exact.scales, rtol=0, atol=0.02)


def test_a_norm_that_the_head_does_not_read_is_left_alone(tiny: Tiny) -> None:
    """What is fitted in front of something else would be another model."""
    model, batches = behind_the_last_layer(tiny("llama"))
    doubled = replace(model, final_norm=nn.Sequential(model.final_norm, nn.Linear(32, 32)))
    assert compensate_final_norm(doubled, batches, IDS[0]) is None


def test_windows_that_judge_are_spread_where_there_are_many(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    """About as many tokens as are needed, from everywhere; what is fitted to is never seen."""
    model, batches = behind_the_last_layer(tiny("llama"))
    monkeypatch.setattr(final_norm, "_TOKENS", 48)
    for batch in batches:  # what isn't held out is never looked at
        batch.pruned[~batch.held_out] = float("nan")
    assert [len(dense) for dense, _ in final_norm._validation_streams(batches)] == [24, 24]
    found = compensate_final_norm(model, batches, IDS[0])
    assert found is not None
    assert found.divergence_before > 0


TOKENS, WIDTH, WORDS = 400, 8, 40


def draw(*shape: int, seed: int) -> torch.Tensor:
    """Normal numbers."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


WEIGHT = draw(WORDS, WIDTH, seed=0)


def logits(hidden: torch.Tensor) -> torch.Tensor:
    """The logits of these hidden states."""
    return hidden @ WEIGHT.T


def said_of(hidden: torch.Tensor) -> torch.Tensor:
    """The log-probabilities that these hidden states give."""
    return functional.log_softmax(logits(hidden), dim=-1)


def divergence(hidden: torch.Tensor, said: torch.Tensor) -> float:
    """KL in nats a token, written out."""
    ours = said_of(hidden)
    return float((said.exp() * (said - ours)).sum(dim=-1).mean())


def test_scales_that_were_lost_are_found() -> None:
    """Channels that were blown up and shrunk come back, from as few tokens as these."""
    hidden, wrong = draw(TOKENS, WIDTH, seed=1), 1 + 0.3 * draw(WIDTH, seed=2)
    found = fit_logit_scales(hidden * wrong, said_of(hidden), logits, penalty=1e-3)
    assert found.scales is not None
    torch.testing.assert_close(found.scales, 1 / wrong, rtol=0, atol=0.02)
    assert found.divergence_before == pytest.approx(divergence(hidden * wrong, said_of(hidden)))
    assert found.divergence_after < 1e-3 * found.divergence_before


def test_a_model_that_is_too_sure_is_cooled() -> None:
    """Noise in the hidden states makes smaller logits the better ones, on other tokens too."""
    hidden = draw(TOKENS, WIDTH, seed=1)
    noisy = hidden + draw(TOKENS, WIDTH, seed=3)
    found = fit_logit_scales(noisy, said_of(hidden), logits)
    assert found.scales is not None
    assert float(found.scales.max()) < 1
    others = draw(TOKENS, WIDTH, seed=4)
    noisy_others = others + draw(TOKENS, WIDTH, seed=5)
    cooled = divergence(noisy_others * found.scales, said_of(others))
    assert cooled < divergence(noisy_others, said_of(others))
    assert cooled == pytest.approx(found.divergence_after, rel=0.2)


def test_scales_stay_where_they_would_only_fit_noise() -> None:
    """The same hidden states need none; whatever is fitted then is worse on the other sublayer."""
    hidden = draw(TOKENS, WIDTH, seed=1)
    found = fit_logit_scales(hidden, said_of(hidden), logits)
    assert found.scales is None
    assert found.divergence_after == found.divergence_before == pytest.approx(0, abs=1e-6)


def test_a_huge_penalty_keeps_them_at_one() -> None:
    """The prior is no change."""
    hidden = draw(TOKENS, WIDTH, seed=1)
    found = fit_logit_scales(2 * hidden, said_of(hidden), logits, penalty=1e9)
    assert found.scales is None or float((found.scales - 1).abs().max()) < 1e-4


def test_what_is_not_finite_changes_nothing() -> None:
    """Scales that are no numbers are never taken."""
    hidden = draw(TOKENS, WIDTH, seed=1)
    found = fit_logit_scales(hidden * float("nan"), said_of(hidden), logits)
    assert found.scales is None


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000), noise=st.floats(0, 2), tokens=st.integers(2, 60))
def test_the_divergence_on_other_tokens_never_rises(seed: int, noise: float, tokens: int) -> None:
    """Whatever the noise, and however few tokens there are."""
    hidden = draw(tokens, WIDTH, seed=seed)
    noisy = hidden + noise * draw(tokens, WIDTH, seed=seed + 1)
    found = fit_logit_scales(noisy, said_of(hidden), logits)
    assert found.divergence_after <= found.divergence_before
    assert (found.scales is None) == (found.divergence_after == found.divergence_before)


def test_few_logits_at_a_time_are_all_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks are a matter of memory."""
    hidden = draw(TOKENS, WIDTH, seed=1)
    noisy, said = hidden + draw(TOKENS, WIDTH, seed=3), said_of(hidden)
    whole = fit_logit_scales(noisy, said, logits)
    monkeypatch.setattr(final_norm, "_ROWS", 7)
    pieces = fit_logit_scales(noisy, said, logits)
    assert whole.scales is not None
    assert pieces.scales is not None
    torch.testing.assert_close(pieces.scales, whole.scales, rtol=1e-3, atol=1e-3)
