"""The figures of a raw config.json, read with suspicion: a missing or odd one is named.

A model that globalprune cut unevenly says what differs under `per_layer_config`; those figures come
before the ones of the whole model.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final

from globalprune.errors import CheckpointError

EXPERT_WIDTHS: Final = "expert_widths"  # under this key a layer says how wide each expert is


@dataclass(frozen=True)
class ConfigFigures:
    """Positive numbers by their keys; `where` opens every message."""

    values: Mapping[str, Any]
    where: str

    def layer(self, index: int) -> Mapping[str, Any]:
        """What is said of one layer alone; the keys are numbers, or such strings as "05"."""
        per_layer = self.values.get("per_layer_config") or {}
        try:
            by_index = {int(key): dict(own) for key, own in per_layer.items()}
        except (AttributeError, TypeError, ValueError) as error:
            raise CheckpointError(
                f"{self.where}: config.json: per_layer_config is no mapping of layer numbers to "
                f"settings ({error}); apply the plan again."
            ) from error
        return by_index.get(index, {})

    def emptied(self, index: int) -> Collection[str]:
        """The halves of a layer that an earlier cut took whole: `attention`, `mlp`."""
        halves = self.layer(index).get("skip", ())
        return halves if isinstance(halves, list | tuple) else ()

    def find(self, key: str, index: int | None = None) -> int | None:
        """The number, that of layer `index` first, or None where the config is silent."""
        own = {} if index is None else self.layer(index)
        value = own.get(key, self.values.get(key))
        if value is None:
            return None
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise CheckpointError(
                f"{self.where}: config.json: {key} is {value!r}, not a positive number; mend it."
            )
        return value

    def need(self, key: str, index: int | None = None) -> int:
        """The number; raise `CheckpointError` where the config is silent."""
        value = self.find(key, index)
        if value is None:
            raise CheckpointError(f"{self.where}: config.json has no {key}; download it again.")
        return value
