"""optipfair with text: the spread of weights times the norm of what enters down_proj, evenly.

`prune_model` with PPM (`MAW`) and a loader, which adds CFSP's activation norms.
https://github.com/peremartra/optipfair
"""

from globalprune.text.windows import TokenWindows, batches
from peers.optipfair_weights import prune_with
from peers.subject import Subject

BATCH_SIZE = 8


def prune(subject: Subject, windows: TokenWindows, need: int) -> int:
    """Cut by weights and activations."""
    loader = [{"input_ids": ids} for ids in batches(windows, BATCH_SIZE)]
    return prune_with(subject, need, loader)
