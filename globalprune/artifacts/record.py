"""The base of everything that we write as JSON or YAML: frozen, and strict about unknown keys."""

from pydantic import BaseModel, ConfigDict


class Record(BaseModel):
    """A value that never changes and that refuses keys it doesn't know."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())
