"""Windows that are given as `input_ids`: each row is one, as it stands, in order."""

from collections.abc import Sequence
from itertools import islice

from globalprune.errors import TextError
from globalprune.text.rows import Rows
from globalprune.text.token_rows import TokenRow
from globalprune.text.windows import TokenWindows, make_windows, row_digest


def id_windows(
    rows: Rows, *, name: str, vocab_size: int, samples: int | None, seq_len: int | None
) -> TokenWindows:
    """Take the first `samples` rows, or all if None; `seq_len` must be their length if given.

    Every token of a window is measured, so rows that leave some out of the loss are refused.
    """
    taken = token_rows(rows, name=name, vocab_size=vocab_size, samples=samples)
    for row in taken:
        if row.masked_by is not None:
            raise TextError(
                f"{row.where}: `{row.masked_by}` leaves tokens out of the loss, which gp finetune "
                "honours, and what is measured is the loss of every token; drop the column, or the "
                "tokens."
            )
    if samples is not None and len(taken) < samples:
        raise TextError(
            f"{name}: has {len(taken)} rows of `input_ids`, but --samples asks for {samples}; "
            f"say --samples {len(taken)} or leave it out to take all."
        )
    longest = max(len(row.ids) for row in taken)
    if seq_len is not None and seq_len != longest:
        raise TextError(
            f"{name}: its rows of `input_ids` are up to {longest} tokens long, and --seq-len says "
            f"{seq_len}; rows are used as they stand, so leave --seq-len out."
        )
    return windows_of(taken, name)


def token_rows(
    rows: Rows, *, name: str, vocab_size: int, samples: int | None
) -> tuple[TokenRow, ...]:
    """Read the first `samples` rows, or all if None, without their padding."""
    taken = tuple(
        TokenRow.of(row, where, vocab_size) for where, row in islice(rows.values, samples)
    )
    if not taken:
        raise TextError(f"{name}: has no rows of `input_ids`.")
    return taken


def windows_of(taken: Sequence[TokenRow], name: str) -> TokenWindows:
    """Each row as a window."""
    lengths = {len(row.ids) for row in taken}
    return make_windows(
        [row.ids for row in taken],
        source=name,
        documents=len(taken),
        document_digests=tuple(row_digest(row.ids) for row in taken),
        seq_len=lengths.pop() if len(lengths) == 1 else None,
        stride=None,
        seed=None,
        bos=False,
    )
