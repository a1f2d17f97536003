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


def behind_the_last_layer(folder: Path) -> tuple[Any, list[StreamBatch]]:
    """A model, and streams that have come through it, the cut one's with noise of its own."""
    found = running(folder)
    windows = windows_of(list(IDS))
    batches = stream_batches(found.model, found.layers, windows, batch_size=3, every=4)
    noise = torch.Generator().manual_seed(0)
    for batch in batches:
        for half in found.halves:
            batch.dense = half.through(batch.dense, batch.calls).detach()
        size = batch.dense.std()
        batch.pruned = batch.dense + size * torch.randn(batch.dense.shape, generator=noise)
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
    return logits.log_softmax(-1)  # type: ignore[no-any-return]


@pytest.mark.parametrize("family", sorted({*FAMILIES} - {"gemma2"}))  # which caps its logits
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


def test_logits_that_are_more_than_a_matrix_are_left_alone(tiny: Tiny) -> None:
    """A cap behind the head, as Gemma 2 has it, would make the fit one of another model."""
    model, batches = behind_the_last_layer(tiny("llama"))
    size = float(model(IDS[:1]).logits.detach().abs().max())

    def capped(_module: nn.Module, _args: Any, logits: torch.Tensor) -> torch.Tensor:
        return size * torch.tanh(logits / size)

    model.lm_head.register_forward_hook(capped)
    assert refit_final_norm(model, model.model.norm, batches, IDS[0]) is None


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
