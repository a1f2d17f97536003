"""The final norm is refitted for the cut model as it stands, where that is all there is."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from compensating import ROWS, running
from measuring import windows_of
from tiny_models import FAMILIES, random_ids
from torch import nn

from globalprune.models.registry import adapter_for
from globalprune.passes.halves.streams import StreamBatch, stream_batches
from globalprune.passes.repair import final_norm
from globalprune.passes.repair.final_norm import refit_final_norm

Tiny = Callable[[str], Path]
IDS = random_ids(ROWS, 24)


def behind_the_last_layer(
    folder: Path, dtype: torch.dtype = torch.float32
) -> tuple[Any, list[StreamBatch]]:
    """A model, and streams that have come through it, the cut one's with noise of its own."""
    found = running(folder, dtype)
    windows = windows_of(list(IDS))
    batches = stream_batches(found.model, found.layers, windows, batch_size=3, every=4)
    noise = torch.Generator().manual_seed(0)
    for batch in batches:
        for half in found.halves:
            batch.dense = half.through(batch.dense, batch.calls).detach()
        size = batch.dense.std()
        batch.pruned = batch.dense + size * torch.randn(batch.dense.shape, generator=noise).to(
            dtype
        )
    return found.model, batches


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
    found = refit_final_norm(model, model.model.norm, batches, IDS[0])
    assert found is not None
    assert found.scales is not None
    with torch.no_grad():
        said = says(model, held_out(batches, pruned=False))
        before = says(model, held_out(batches, pruned=True))
        offset = adapter_for(model.config.to_dict()).final_norm_offset
        model.model.norm.weight.add_(offset).mul_(found.scales).sub_(offset)
        after = says(model, held_out(batches, pruned=True))
    was, became = (float((said.exp() * (said - ours)).sum(-1).mean()) for ours in (before, after))
    assert found.divergence_before == pytest.approx(was, rel=1e-4)
    assert became < found.divergence_after < was  # the figure is of tokens not fitted to


def test_an_uncut_model_needs_none(tiny: Tiny) -> None:
    """Streams that are one tensor say so."""
    model, batches = behind_the_last_layer(tiny("llama"))
    for batch in batches:
        batch.pruned = batch.dense
    assert refit_final_norm(model, model.model.norm, batches, IDS[0]) is None


def test_a_cap_that_bites_is_part_of_the_fit(tiny: Tiny) -> None:
    """Where logits are no longer linear in the scales, what is judged is still the capped model."""
    model, batches = behind_the_last_layer(tiny("gemma2"))
    model.config.final_logit_softcapping = 0.5 * float(model(IDS[:1]).logits.detach().abs().max())
    found = refit_final_norm(model, model.model.norm, batches, IDS[0])
    assert found is not None
    with torch.no_grad():
        said, before = (says(model, held_out(batches, pruned=cut)) for cut in (False, True))
    was = float((said.exp() * (said - before)).sum(-1).mean())
    assert found.divergence_before == pytest.approx(was, rel=1e-4)
    assert found.divergence_after < was


def test_half_precision_is_fitted_in_float32(tiny: Tiny) -> None:
    """The head computes wider while scales are fitted to it, and is what it was behind that."""
    model, batches = behind_the_last_layer(tiny("granite"))
    exact = refit_final_norm(model, model.model.norm, batches, IDS[0])
    model, batches = behind_the_last_layer(tiny("granite"), torch.bfloat16)
    weight = model.lm_head.weight.detach().clone()
    found = refit_final_norm(model, model.model.norm, batches, IDS[0])
    assert model.lm_head.weight.dtype == torch.bfloat16
    assert torch.equal(model.lm_head.weight, weight)
    assert exact is not None
    assert exact.scales is not None
    assert found is not None
    assert found.scales is not None
    torch.testing.assert_close(found.scales.float(), exact.scales, rtol=0, atol=0.02)


def test_a_norm_that_the_head_does_not_read_is_left_alone(tiny: Tiny) -> None:
    """What is fitted in front of something else would be another model."""
    model, batches = behind_the_last_layer(tiny("llama"))
    doubled = nn.Sequential(model.model.norm, nn.Linear(32, 32))
    assert refit_final_norm(model, doubled, batches, IDS[0]) is None


def test_windows_that_judge_are_spread_where_there_are_many(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    """About as many tokens as are needed, from everywhere; what is fitted to is never seen."""
    model, batches = behind_the_last_layer(tiny("llama"))
    monkeypatch.setattr(final_norm, "_TOKENS", 48)
    for batch in batches:  # what isn't held out is never looked at
        batch.pruned[~batch.held_out] = float("nan")
    assert [len(dense) for dense, _ in final_norm._chosen(batches)] == [24, 24]
    found = refit_final_norm(model, model.model.norm, batches, IDS[0])
    assert found is not None
    assert found.divergence_before > 0
