"""Both streams begin as one tensor, and every window is in its place."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from compensating import running
from measuring import windows_of
from tiny_models import random_ids

from globalprune.sublayers.residual_stream import StreamBatch, stream_batches

Tiny = Callable[[str], Path]
RAGGED = [row[:length] for row, length in zip(random_ids(7, 9), (9, 9, 9, 5, 5, 9, 9), strict=True)]


def begun(folder: Path, *, batch_size: int, every: int) -> list[StreamBatch]:
    """The batches of the ragged windows."""
    windows = windows_of(RAGGED)
    return stream_batches(running(folder), windows, batch_size=batch_size, held_out_every=every)


@pytest.mark.parametrize("batch_size", [1, 2, 4])
def test_a_window_is_held_out_by_its_place_in_the_text(tiny: Tiny, batch_size: int) -> None:
    """One of `every`, whatever the batches; lengths that change break a batch, not the count."""
    batches = begun(tiny("llama"), batch_size=batch_size, every=3)
    held_out = torch.cat([batch.held_out for batch in batches])
    assert held_out.tolist() == [False, False, True, False, False, True, False]
    assert [len(batch.dense) for batch in batches] == {
        1: [1] * 7, 2: [2, 1, 2, 2], 4: [3, 2, 2],
    }[batch_size]  # fmt: skip


def test_the_streams_are_the_embeddings_and_one_tensor(tiny: Tiny) -> None:
    """In the order of the windows; nothing is stored twice before something is cut."""
    batches = begun(tiny("llama"), batch_size=2, every=3)
    embed = running(tiny("llama")).module.get_input_embeddings()
    rows = [row for batch in batches for row in batch.dense]
    with torch.no_grad():
        assert all(torch.equal(row, embed(ids)) for row, ids in zip(rows, RAGGED, strict=True))
    assert all(batch.is_uncut for batch in batches)
    batches[0].pruned = batches[0].dense.clone()
    assert not batches[0].is_uncut


def test_every_batch_is_called_by_its_own_length(tiny: Tiny) -> None:
    """Masks and rotary embeddings fit the windows, also where lengths come again."""
    for batch in begun(tiny("llama"), batch_size=2, every=3):
        cosine, _ = batch.calls.kwargs[0]["position_embeddings"]
        assert cosine.shape[1] == batch.dense.shape[1]


def test_tokens_are_those_of_the_chosen_windows(tiny: Tiny) -> None:
    """Each token once, on one side or the other, in order."""
    batch = begun(tiny("llama"), batch_size=3, every=3)[0]
    numbers = torch.arange(27).reshape(3, 9, 1)
    assert batch.tokens(numbers, held_out=False).flatten().tolist() == list(range(18))
    assert batch.tokens(numbers, held_out=True).flatten().tolist() == list(range(18, 27))
