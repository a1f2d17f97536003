"""A model that was found and opened, and not loaded yet: what can be refused before the work."""

from dataclasses import dataclass
from pathlib import Path

from transformers import PreTrainedModel

from globalprune.artifacts.provenance import digest_bytes
from globalprune.errors import CheckpointError
from globalprune.evaluate.masks import Mask, put_on, read_mask
from globalprune.models.checkpoints.opening import open_checkpoint
from globalprune.models.checkpoints.weights_fingerprint import weights_fingerprint
from globalprune.models.experts import take_apart
from globalprune.models.loading import load_model
from globalprune.models.placement import Placement
from globalprune.models.sources.source import ModelSource, resolve_model

_DECIDING = (  # files beside the weights that can change what a model answers
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "vocab.json",
    "merges.txt",
    "chat_template.jinja",
)


@dataclass(frozen=True)
class Candidate:
    """A model that will be judged."""

    source: ModelSource
    vocab_size: int
    longest: int | None  # tokens that it was made for
    weights: str  # fingerprint
    companions: str  # digest of the small files that decide what it answers
    mask: Mask | None = None  # a plan that it is judged by, without being cut

    @property
    def name(self) -> str:
        """As it was named, with the plan."""
        return self.source.name if self.mask is None else f"{self.source.name}, {self.mask.path}"


def find_candidate(name: str, plan: Path | None = None) -> Candidate:
    """Resolve a model and read its config and fingerprint, and the plan that masks it."""
    source = resolve_model(name)
    checkpoint = open_checkpoint(source)
    config = checkpoint.config
    if "vocab_size" not in config:
        raise CheckpointError(f"{name}: its config has no vocab_size; is it a language model?")
    return Candidate(
        source,
        config["vocab_size"],
        config.get("max_position_embeddings"),
        weights_fingerprint(checkpoint),
        _companions(source),
        None if plan is None else read_mask(plan, checkpoint),
    )


def load_candidate(
    candidate: Candidate, placement: Placement, *, trust_remote_code: bool
) -> PreTrainedModel:
    """Load a model to be judged, behind its mask."""
    model = load_model(
        candidate.source,
        dtype=placement.dtype,
        device=placement.device,
        trust_remote_code=trust_remote_code,
    )
    if candidate.mask is not None:
        take_apart(model)
        put_on(model, candidate.mask)
    return model


def _companions(source: ModelSource) -> str:
    """The digest of what lies beside the weights; a .gguf file carries all of it inside."""
    if source.is_gguf:
        return digest_bytes(str(source.path.stat().st_size).encode())
    files = [source.path / name for name in _DECIDING]
    return digest_bytes(
        *(f"{file.name}\0".encode() + file.read_bytes() for file in files if file.is_file())
    )
