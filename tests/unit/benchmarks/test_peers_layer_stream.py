"""The stream shows what runs of the whole model would."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from peers.layer_stream import LayerStream
from recipe_subjects import inputs_of, some_windows, subject_in

Tiny = Callable[[str], Path]
FAMILIES = ("llama", "mistral", "qwen2", "qwen3")


@pytest.mark.parametrize("family", FAMILIES)
def test_the_stream_ends_where_the_model_does(tiny: Tiny, family: str) -> None:
    """After every layer its states are the model's own, rotary positions and masks included."""
    subject, windows = subject_in(tiny(family)), some_windows()
    ids = torch.stack(windows.rows)
    with torch.no_grad():
        expected = subject.model(input_ids=ids, output_hidden_states=True).hidden_states
    stream = LayerStream(subject, windows)
    torch.testing.assert_close(torch.cat(stream.hidden), expected[0])

    for index in range(3):  # behind the last one stands the final norm
        stream.advance(index)
        torch.testing.assert_close(torch.cat(stream.hidden), expected[index + 1])


def test_a_peek_shows_an_outputs_inputs_and_stays(tiny: Tiny) -> None:
    """What is shown is what enters the outputs of the whole model; the stream doesn't move."""
    subject, windows = subject_in(tiny("qwen2")), some_windows()
    expected = inputs_of(subject, windows)
    stream = LayerStream(subject, windows)
    stream.advance(0)
    before = torch.cat(stream.hidden)
    sublayers = [sublayer for sublayer in subject.outputs if sublayer[0] == 1]
    seen: list[torch.Tensor] = []

    stream.peek(1, {subject.outputs[sublayer]: seen.append for sublayer in sublayers})

    for sublayer, inputs in zip(sublayers, seen, strict=True):
        torch.testing.assert_close(inputs, expected[sublayer])
    torch.testing.assert_close(torch.cat(stream.hidden), before)


def test_a_peek_stops_at_the_last_thing_to_be_seen(tiny: Tiny) -> None:
    """Of a layer whose attention alone is watched, the MLP doesn't run."""
    subject = subject_in(tiny("llama"))
    stream = LayerStream(subject, some_windows())
    ran: list[torch.Tensor] = []
    gate = next(site.linear for site in subject.sites if site.sublayer == (0, "mlp"))
    gate.register_forward_hook(lambda *_: ran.append(torch.ones(1)))

    stream.peek(0, {subject.outputs[0, "attention"]: lambda _: None})
    assert not ran
    stream.advance(0)
    assert ran


def test_the_layers_run_again_as_they_were(tiny: Tiny) -> None:
    """Recording what layers are called with leaves nothing behind in the model."""
    subject, windows = subject_in(tiny("llama")), some_windows()
    before = inputs_of(subject, windows)

    LayerStream(subject, windows)

    torch.testing.assert_close(inputs_of(subject, windows), before)
