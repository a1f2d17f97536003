"""The windows that compensation is fitted to, the validation windows, and the window starts.

The first token of a window is like no other: attention rests on it (attention sinks,
arXiv:2309.17453), and a few channels make it a thousand times larger than the rest (massive
activations, arXiv:2402.17762). N windows show N such tokens, too few for weights fitted to them to
hold for another one. So compensation is also fitted to window starts: short windows that start
elsewhere in the same text. Where every window starts with the same token they teach nothing.
"""

from typing import Final

from globalprune.errors import UsageError
from globalprune.sublayers.residual_stream import StreamBatch, SublayerModel, stream_batches
from globalprune.text.windows import TokenWindows

VALIDATION_EVERY: Final = 16  # one window of so many validates; the others are fitted to
_START_EVERY: Final = 32  # tokens of a window that is fitted to
_START_LENGTH: Final = 4  # tokens


def compensation_streams(
    model: SublayerModel, windows: TokenWindows, *, batch_size: int
) -> list[StreamBatch]:
    """The streams of the windows in front of the first layer, and then those of window starts.

    Raise `UsageError` for a single window.
    """
    streams = stream_batches(
        model, windows, batch_size=batch_size, held_out_every=validation_every(windows)
    )
    starts = window_starts(windows)
    if starts.rows:
        same_tokens = batch_size * max(1, len(windows.rows[0]) // _START_LENGTH)
        streams += stream_batches(model, starts, batch_size=same_tokens)
    return streams


def validation_every(windows: TokenWindows) -> int:
    """One window of how many validates: at least one does.

    Raise `UsageError` for a single window, which can't be both fitted to and validated on.
    """
    if len(windows.rows) < 2:  # noqa: PLR2004 - one to fit to, one to validate on
        raise UsageError(
            "compensation: a single window of text can't be both fitted to and judged by; say "
            "--samples 2 at least, better 128."
        )
    return min(VALIDATION_EVERY, len(windows.rows))


def window_starts(windows: TokenWindows) -> TokenWindows:
    """Short windows out of those that are fitted to; none where all start with the same token."""
    every = validation_every(windows)
    rows = [
        row[start : start + _START_LENGTH]
        for number, row in enumerate(windows.rows)
        if number % every != every - 1
        for start in range(_START_EVERY, len(row) - _START_LENGTH + 1, _START_EVERY)
    ]
    same_first = len({int(row[0]) for row in windows.rows}) == 1
    return TokenWindows(() if same_first else tuple(rows), windows.record)
