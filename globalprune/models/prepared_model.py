"""A model that a command works on: found, opened and fingerprinted once, then handed on."""

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from globalprune.artifacts.structure import ModelStructure
from globalprune.errors import CheckpointError
from globalprune.models.architecture import ModelAdapter
from globalprune.models.checkpoints.checkpoint import Checkpoint
from globalprune.models.checkpoints.identity import (
    ModelIdentity,
    identify_model,
    refuse_changed,
    weights_fingerprint,
)
from globalprune.models.checkpoints.open import open_checkpoint, open_folder
from globalprune.models.checkpoints.safetensors_checkpoint import SafetensorsCheckpoint
from globalprune.models.configs.config import ConfigSizes
from globalprune.models.registry import adapter_for
from globalprune.models.sources.hub import HubModel
from globalprune.models.sources.source import ModelSource, locate_model, resolve_model
from globalprune.progress import Progress, silent

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class PreparedModel:
    """A model by its name; each of its parts is read when it is first asked for, and kept.

    Nothing here is read again. Whoever works for long calls `refuse_changed` at the end.
    """

    def __init__(self, name: str | Path) -> None:
        """Take a local folder, a .gguf file or a Hub id; nothing is read yet."""
        self.name = str(name)
        self._weights: dict[bool, str] = {}
        self._identity: ModelIdentity | None = None

    def __str__(self) -> str:
        """The name, as its user wrote it."""
        return self.name

    @cached_property
    def place(self) -> ModelSource | HubModel:
        """Where it lies, or would be fetched from; raise `ModelNotFound`."""
        return locate_model(self.name)

    @cached_property
    def source(self) -> ModelSource:
        """Where it lies, fetched from the Hub if need be; raise `ModelNotFound`."""
        return self.place if isinstance(self.place, ModelSource) else resolve_model(self.name)

    @cached_property
    def folder(self) -> SafetensorsCheckpoint:
        """Its folder of safetensors without the adapter, if there is one: torch is not loaded."""
        return SafetensorsCheckpoint.open(self.source)

    @cached_property
    def checkpoint(self) -> Checkpoint:
        """Its config, and the names and shapes of its tensors; raise `CheckpointError`."""
        if self.source.is_gguf:
            return open_checkpoint(self.source)
        return open_folder(self.source, self.folder)

    @cached_property
    def adapter(self) -> ModelAdapter:
        """How its family is cut; raise `UnsupportedArchitecture` for another family."""
        return adapter_for(self.checkpoint.config)

    @cached_property
    def structure(self) -> ModelStructure:
        """Its layers, sublayers and groups."""
        return self.adapter.structure(self.checkpoint)

    @property
    def figures(self) -> ConfigSizes:
        """The numbers of its config."""
        return ConfigSizes(self.checkpoint.config, self.name)

    @property
    def vocab_size(self) -> int:
        """How many tokens it has an embedding for; raise `CheckpointError` where none is said."""
        return self.figures.require("vocab_size")

    @cached_property
    def tokenizer(self) -> "PreTrainedTokenizerBase":
        """Its tokenizer; raise `CheckpointError` with the file at fault."""
        from globalprune.models.tokenizer import load_tokenizer

        return load_tokenizer(self.source.path)

    @cached_property
    def tokenizer_digest(self) -> str | None:
        """What two models share whose tokenizers cut text alike; None where there is none."""
        from globalprune.models.tokenizer import tokenizer_digest

        if self.source.is_gguf:
            return str(self.source.path.resolve())
        try:
            return tokenizer_digest(self.source.path)
        except CheckpointError:
            return None

    def load_tokenizer(self) -> "PreTrainedTokenizerBase":
        """Return the tokenizer: for text that may do without one."""
        return self.tokenizer

    def weights(self, *, full: bool = False) -> str:
        """Return the fingerprint of its weights, of sampled rows or of every byte."""
        if full not in self._weights:
            self._weights[full] = weights_fingerprint(self.checkpoint, full=full)
        return self._weights[full]

    def release_weights(self) -> None:
        """Let go of what a GGUF file's checkpoint holds in memory, before a model is loaded."""
        if self.source.is_gguf:
            from globalprune.models.checkpoints.gguf_checkpoint import GgufCheckpoint

            if isinstance(self.checkpoint, GgufCheckpoint):
                self.checkpoint.release()

    def identity(self, progress: Progress = silent) -> ModelIdentity:
        """Return the digests of all files that decide what it computes."""
        if self._identity is None:
            self._identity = identify_model(self.source, progress)
        return self._identity

    def refuse_changed(self) -> None:
        """Raise `CheckpointError` unless its files still are what `identity` found."""
        refuse_changed(self.source, self.identity().files)
