"""How a cut model is finetuned in a row of phases."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from globalprune.artifacts.results.finetuning import RecoverySettings


@dataclass(frozen=True)
class Recovery:
    """The settings and the text; with distillation in them, the model before the cut teaches."""

    settings: RecoverySettings
    data: Sequence[str] = ()

    @property
    def described(self) -> dict[str, Any]:
        """All that decides what it does, for telling one run from another."""
        return {"data": list(self.data), **self.settings.model_dump(mode="json")}
