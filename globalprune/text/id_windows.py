"""Windows that are given as `input_ids`: each row is one, as it stands, in order."""

from itertools import islice

import numpy as np

from globalprune.errors import TextError
from globalprune.text.rows import Rows
from globalprune.text.tokens import Ids
from globalprune.text.windows import TokenWindows, make_windows, row_digest

SHORTEST = 2  # a window of one token predicts none


def id_windows(
    rows: Rows, *, name: str, vocab_size: int, samples: int | None, seq_len: int | None
) -> TokenWindows:
    """Take the first `samples` rows, or all if None; `seq_len` must be their length if given."""
    taken = [_ids(value, where, vocab_size) for where, value in islice(rows.values, samples)]
    if not taken:
        raise TextError(f"{name}: has no rows of `input_ids`.")
    if samples is not None and len(taken) < samples:
        raise TextError(
            f"{name}: has {len(taken)} rows of `input_ids`, but --samples asks for {samples}; "
            f"say --samples {len(taken)} or leave it out to take all."
        )
    longest = max(len(row) for row in taken)
    if seq_len is not None and seq_len != longest:
        raise TextError(
            f"{name}: its rows of `input_ids` are up to {longest} tokens long, and --seq-len says "
            f"{seq_len}; rows are used as they stand, so leave --seq-len out."
        )
    same_length = all(len(row) == longest for row in taken)
    return make_windows(
        taken,
        source=name,
        documents=len(taken),
        document_digests=tuple(row_digest(row) for row in taken),
        seq_len=longest if same_length else None,
        stride=None,
        seed=None,
        bos=False,
    )


def _ids(value: object, where: str, vocab_size: int) -> Ids:
    """One row as ids that the model has."""
    if not isinstance(value, list) or not all(type(token) is int for token in value):
        raise TextError(f"{where}: `input_ids` is not a list of integers; mend or drop that row.")
    if len(value) < SHORTEST:
        raise TextError(
            f"{where}: has {len(value)} token{'s' * (len(value) != 1)}; a window needs {SHORTEST} "
            "to predict one."
        )
    for token in (min(value), max(value)):
        if not 0 <= token < vocab_size:
            raise TextError(
                f"{where}: id {token} is outside the model's vocabulary (0 to {vocab_size - 1}); "
                "the rows were made for another tokenizer."
            )
    return np.array(value, dtype=np.int64)
