"""How a cut model is finetuned in a row of phases, and whether its texts are there."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from globalprune.artifacts.recovery_settings import RecoverySettings
from globalprune.text.mixture import parse_mixture
from globalprune.text.source import parse_source


@dataclass(frozen=True)
class Recovery:
    """The settings and the text; with distillation in them, the model before the cut teaches."""

    settings: RecoverySettings
    data: Sequence[str] = ()
    device: str | None = None
    dtype: str | None = None

    @property
    def described(self) -> dict[str, Any]:
        """All that decides what it does, for telling one run from another."""
        return {"data": list(self.data), **self.settings.model_dump(mode="json")}


def refuse_absent_text(recovery: Recovery | None, evaluate: str | None) -> None:
    """Raise `TextError` for text that isn't there, before the phases ahead of its use run."""
    if recovery is not None:
        parse_mixture(recovery.data)
    if evaluate is not None:
        parse_source(evaluate)
