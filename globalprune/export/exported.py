"""What an export wrote, for a person and for a program."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Exported:
    """A model in a runtime's own format."""

    path: Path
    architecture: str  # the runtime's word for it
    dtype: str
    bytes: int
    parameters: int  # the model's own
    padding: int  # parameters of zeros that the format wants beside them
    padded: tuple[tuple[int, str], ...]  # the halves that are zeros alone: layer and kind
    notes: tuple[str, ...]

    @property
    def document(self) -> dict[str, Any]:
        """The answer for a program."""
        halves = [{"layer": layer, "half": half} for layer, half in self.padded]
        return asdict(self) | {"path": str(self.path), "padded": halves, "notes": list(self.notes)}
