"""A GGUF file of the same model that lends its tokenizer, key by key."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gguf

from globalprune.errors import UsageError
from globalprune.models.checkpoints.gguf_header import is_gguf

_PREFIX = "tokenizer."
_TOKENS = "tokenizer.ggml.tokens"


@dataclass(frozen=True)
class DonatedVocabulary:
    """All keys of another file's tokenizer."""

    fields: dict[str, Any]  # the reader's own
    notes: tuple[str, ...] = ()

    def add_to(self, writer: gguf.GGUFWriter) -> None:
        """Write them as they stand there."""
        for key, field in self.fields.items():
            kind, *inner = field.types
            writer.add_key_value(key, field.contents(), kind, sub_type=inner[-1] if inner else None)


def read_donor(path: Path, rows: int) -> DonatedVocabulary:
    """Read a file's tokenizer; raise `UsageError` unless it has as many tokens as `rows`."""
    if not path.is_file() or not is_gguf(path):
        raise UsageError(f"--donor {path}: is no GGUF file; name one of the same model.")
    try:
        fields = gguf.GGUFReader(path).fields
    except (ValueError, IndexError, KeyError) as error:
        raise UsageError(f"--donor {path}: can't be read ({error}); download it again.") from error
    own = {key: field for key, field in fields.items() if key.startswith(_PREFIX)}
    tokens = len(own[_TOKENS].data) if _TOKENS in own else 0
    if tokens != rows:
        raise UsageError(
            f"--donor {path}: has {tokens} tokens, where the model's embedding has {rows} rows; "
            "name a GGUF file of the same model."
        )
    return DonatedVocabulary(own)
