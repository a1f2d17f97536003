"""The streams that a repair is solved on: windows to fit to, windows to judge by, and beginnings.

The first token of a window takes a part that no other token has: attention rests on it, and a few
channels make it a thousand times larger than the rest (attention sinks, arXiv:2309.17453; massive
activations, arXiv:2402.17762). N windows show N such tokens, too few for weights that are fitted to
hold for another one. So short windows that begin elsewhere in the same text are fitted to as well.
Where every window begins with the same token there is nothing to learn from them.
"""

from collections.abc import Sequence
from typing import Any, Final

from torch import nn

from globalprune.errors import UsageError
from globalprune.sublayers.residual_stream import StreamBatch, stream_batches
from globalprune.text.windows import TokenWindows

HELD_OUT_EVERY: Final = 16  # one window of so many judges; the others are fitted to
_BEGINS_EVERY: Final = 32  # tokens of a window that is fitted to
_LENGTH: Final = 4  # tokens of a beginning


def streams_to_repair(
    model: Any, layers: Sequence[nn.Module], windows: TokenWindows, *, batch_size: int
) -> list[StreamBatch]:
    """Both streams of the windows as they enter the first layer, beginnings last."""
    found = stream_batches(
        model, layers, windows, batch_size=batch_size, every=judging_every(windows)
    )
    begun = beginnings(windows)
    if begun.rows:
        as_large = batch_size * max(1, len(windows.rows[0]) // _LENGTH)
        found += stream_batches(model, layers, begun, batch_size=as_large)
    return found


def judging_every(windows: TokenWindows) -> int:
    """One window of how many is held out: always one at least.

    Raise `UsageError` for a single window, which can't be fitted to and judged by.
    """
    if len(windows.rows) < 2:  # noqa: PLR2004 - one to fit to, one to judge by
        raise UsageError(
            "compensation: a single window of text can't be both fitted to and judged by; say "
            "--samples 2 at least, better 128."
        )
    return min(HELD_OUT_EVERY, len(windows.rows))


def beginnings(windows: TokenWindows) -> TokenWindows:
    """Short windows out of those that are fitted to; none where all begin with the same token."""
    every = judging_every(windows)
    rows = [
        row[start : start + _LENGTH]
        for number, row in enumerate(windows.rows)
        if number % every != every - 1
        for start in range(_BEGINS_EVERY, len(row) - _LENGTH + 1, _BEGINS_EVERY)
    ]
    alike = len({int(row[0]) for row in windows.rows}) == 1
    return TokenWindows(() if alike else tuple(rows), windows.record)
