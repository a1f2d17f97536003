"""A model that was found and opened, and not loaded yet: what can be refused before the work."""

from dataclasses import dataclass, replace
from pathlib import Path

from transformers import PreTrainedModel

from globalprune.errors import CheckpointError
from globalprune.evaluate.masks import Mask, put_on, read_mask
from globalprune.models.checkpoints.fingerprint import weights_fingerprint
from globalprune.models.checkpoints.identity import ModelIdentity, identify_model
from globalprune.models.checkpoints.open import open_checkpoint
from globalprune.models.loading import load_model, take_apart
from globalprune.models.placement import Placement
from globalprune.models.sources.source import ModelSource, resolve_model
from globalprune.progress import Progress


@dataclass(frozen=True)
class Candidate:
    """A model that will be judged."""

    source: ModelSource
    vocab_size: int
    longest: int | None  # tokens that it was made for
    weights: str  # fingerprint
    identity: ModelIdentity | None  # all that decides what it answers; None: nothing is kept
    mask: Mask | None = None  # a plan that it is judged by, without being cut

    @property
    def name(self) -> str:
        """As it was named, with the plan."""
        return self.source.name if self.mask is None else f"{self.source.name}, {self.mask.path}"


def find_candidate(name: str, *, reading: Progress | None = None) -> Candidate:
    """Resolve a model and read its config and fingerprint; with `reading`, take its identity."""
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
        None if reading is None else identify_model(source, reading),
    )


def masked_by(plan: Path, candidate: Candidate) -> Candidate:
    """The same model behind a mask; raise where the plan doesn't fit it."""
    return replace(candidate, mask=read_mask(plan, open_checkpoint(candidate.source)))


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
