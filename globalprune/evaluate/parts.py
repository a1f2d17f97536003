"""What was measured of a model so far, so that a run that was cut short goes on where it stood."""

from typing import ClassVar

from globalprune.artifacts.evaluations.evaluation import PerplexityResult, TaskResult
from globalprune.artifacts.run_folder import KeyedRecord

PARTS_FOLDER = "parts"


class TextPart(KeyedRecord):
    """A model's size, memory and perplexity."""

    kind: ClassVar[str] = "text"

    source: str
    parameters: int
    file_bytes: int | None  # None: nothing was written
    kv_cache_bytes_per_token: int | None
    peak_memory_bytes: int | None
    dtype: str
    perplexity: PerplexityResult


class TasksPart(KeyedRecord):
    """A model's answers to tasks."""

    kind: ClassVar[str] = "tasks"

    source: str
    tasks: dict[str, TaskResult]
