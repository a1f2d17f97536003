"""What is asked of compensation: the text, and how it is cut into windows."""

from pydantic import Field

from globalprune.artifacts.record import Record


class CompensationRequest(Record):
    """Text to repair a cut model with; None is left to the text's own defaults."""

    data: str | None = None
    samples: int | None = None
    seq_len: int | None = None
    seed: int = 0
    batch_size: int = Field(default=4, exclude=True)  # changes nothing but rounding
