"""optipfair's default: MLP channels by the spread of their weights, evenly from every layer.

`prune_model` with PPM (`MAW`): max + |min| of a channel's rows of gate and up. No text is read.
https://github.com/peremartra/optipfair
"""

import logging
import math
from typing import Any

import optipfair

from globalprune.evaluation.resources import count_parameters
from globalprune.text.windows import TokenWindows
from peers.packages import channels_wanted, mlp_of, removed_since
from peers.subject import Subject


def prune(subject: Subject, windows: TokenWindows, need: int) -> int:
    """Cut by the weights alone."""
    del windows
    return prune_with(subject, need, dataloader=None)


def prune_with(subject: Subject, need: int, dataloader: Any) -> int:
    """Cut the fewest channels of every layer that together hold `need` parameters."""
    before = count_parameters(subject.model)
    logging.getLogger("optipfair").setLevel(logging.WARNING)
    each = math.ceil(channels_wanted(subject, need) / len(subject.structure.layers))
    optipfair.prune_model(
        subject.model,
        pruning_type="MLP_GLU",
        neuron_selection_method="MAW",
        # it takes int(percentage of the channels): the sublayer keeps the number whole
        pruning_percentage=100 * (each + 0.5) / mlp_of(subject).groups,
        dataloader=dataloader,
        show_progress=False,
    )
    return removed_since(subject, before, need)
