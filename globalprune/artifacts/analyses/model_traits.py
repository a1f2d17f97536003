"""What of a model's config decides which runtimes can hold a cut of it."""

from typing import Literal

from globalprune.artifacts.record import Record

LayerKind = Literal["full", "sliding", "no_rope"]


class ModelTraits(Record):
    """The architecture and its variant, as plain values; sizes of layers are in the structure."""

    model_type: str
    hidden_size: int
    tied_embeddings: bool
    sliding_window: bool  # in any layer
    rope_type: str  # default, llama3, yarn, …
    activation: str
    layer_kinds: tuple[LayerKind, ...] | None = None  # of each layer; None in older analyses
