"""Two residual streams of the same windows, half by half: the model's own, and a cut model's.

Both start alike and stay one tensor until something is cut, so that nothing is computed twice
before that. They lie in host memory, and come to the model a batch at a time.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from globalprune.passes.halves.layer_calls import LayerCalls, layer_calls
from globalprune.passes.halves.running_half import RunningHalf
from globalprune.text.windows import TokenWindows, batches


@dataclass(eq=False)
class StreamBatch:
    """Some windows: what layers are called with, and both residual streams `[B, T, D]`."""

    first_window: int  # its number in the text
    calls: LayerCalls
    held_out: torch.Tensor  # bool [B]: windows that nothing is fitted to
    dense: torch.Tensor
    pruned: torch.Tensor
    made: torch.Tensor | None = None  # by the half that the model's own stream has passed last

    @property
    def alike(self) -> bool:
        """Whether nothing was cut so far."""
        return self.pruned is self.dense

    def tokens(self, rows: torch.Tensor, *, held_out: bool) -> torch.Tensor:
        """Those rows of a tensor `[B, T, ...]` as `[tokens, ...]`."""
        chosen = self.held_out.to(rows.device) == held_out
        return rows[chosen].flatten(0, 1)

    def advance(self, half: RunningHalf) -> None:
        """Let the model's own stream pass a half, and keep what that made if it is asked for."""
        stream = self.dense.to(half.device)
        made = half.made(stream, self.calls)
        self.dense = (stream + half.joined(made)).cpu()
        self.made = None if half.leaving is None else made.cpu()

    def asked(self, half: RunningHalf) -> torch.Tensor:
        """What the product with the output's weight should be, for both streams to be alike.

        Once the model's own stream has passed the half: `[B, T, O]`, where the half computes.
        """
        wanted = self.dense.to(half.device) - self.pruned.to(half.device)
        return half.asked(wanted, None if self.made is None else self.made.to(half.device))

    def divided(self, rows: torch.Tensor, window: int) -> tuple[torch.Tensor, torch.Tensor]:
        """The tokens `[tokens, ...]` of windows before that one, and of the others."""
        before = min(max(window - self.first_window, 0), len(rows))
        return rows[:before].flatten(0, 1), rows[before:].flatten(0, 1)


def stream_batches(
    model: Any,
    layers: Sequence[nn.Module],
    windows: TokenWindows,
    *,
    batch_size: int,
    every: int | None = None,
) -> list[StreamBatch]:
    """The windows' streams as they enter the first layer; one window of `every` is held out.

    Without an `every`, none is.
    """
    found: list[StreamBatch] = []
    alike: dict[torch.Size, LayerCalls] = {}  # without padding, only a batch's shape matters
    done = 0
    for ids in batches(windows, batch_size):
        calls = layer_calls(model, layers, ids.to(model.device))
        entering = calls.entering.cpu()
        held_out = torch.zeros(len(ids), dtype=torch.bool)
        if every is not None:
            held_out = torch.arange(done, done + len(ids)) % every == every - 1
        found.append(
            StreamBatch(done, alike.setdefault(ids.shape, calls), held_out, entering, entering)
        )
        done += len(ids)
    return found
