"""Cutting a row of token ids into windows: how many fit, and what a window looks like."""

import numpy as np
from transformers import PreTrainedTokenizerBase

from globalprune.errors import UsageError
from globalprune.text.id_windows import SHORTEST
from globalprune.text.tokens import Ids, TokenisedText, adds_bos


def check_counts(
    *,
    samples: int | None,
    seq_len: int | None,
    stride: int | None = None,
    seed: int = 0,
    batch_size: int = 1,
) -> None:
    """Refuse numbers that can't be meant, before any text is read."""
    least = {
        "--samples": (samples, 1),
        "--seq-len": (seq_len, SHORTEST),
        "--stride": (stride, 1),
        "--seed": (seed, 0),
        "--batch-size": (batch_size, 1),
    }
    for option, (value, minimum) in least.items():
        if value is not None and value < minimum:
            raise UsageError(f"{option} {value}: must be at least {minimum}.")


class WindowShape:
    """A window of `seq_len` ids; `body` of them are text, one fewer where a BOS leads."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, seq_len: int) -> None:
        self.seq_len = seq_len
        self.bos: int | None = tokenizer.bos_token_id if adds_bos(tokenizer) else None
        self.body = seq_len - (self.bos is not None)

    def cut(self, text: TokenisedText, positions: Ids) -> list[Ids]:
        """The windows whose text starts at these positions."""
        head = np.array([] if self.bos is None else [self.bos], dtype=np.int64)
        return [np.concatenate([head, text.ids[start : start + self.body]]) for start in positions]
