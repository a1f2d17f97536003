"""The base of everything that we write as JSON or YAML: frozen, and strict about unknown keys.

What a record says is text: its strings hold no character that acts where they are shown, wherever
the record came from. Arguments of a command, and paths that are opened again, stay as they are.
"""

from typing import Any, ClassVar, get_origin

from pydantic import BaseModel, ConfigDict, model_validator
from pydantic.fields import FieldInfo

from globalprune.printable import printable_value


class Record(BaseModel):
    """A value that never changes and that refuses keys it doesn't know."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    verbatim: ClassVar[frozenset[str]] = frozenset(
        {"command"}
    )  # fields that are kept to the letter

    @model_validator(mode="before")
    @classmethod
    def _printable(cls, value: Any) -> Any:
        """Spell the characters that act."""
        if not isinstance(value, dict):
            return value
        return {printable_value(name): cls._shown(name, part) for name, part in value.items()}

    @classmethod
    def _shown(cls, name: Any, part: Any) -> Any:
        """A field as it may be shown; a record inside sees to its own."""
        field = cls.model_fields.get(name) if isinstance(name, str) else None
        is_record = isinstance(part, dict) and (field is None or not _is_mapping(field))
        return part if name in cls.verbatim or is_record else printable_value(part)


def _is_mapping(field: FieldInfo) -> bool:
    """Whether a field holds keys of a file's own choice."""
    return get_origin(field.annotation) is dict
