"""Whether a model's head is its embedding, decided as transformers decides it, for every command.

The config says so, or its class where it is silent. A head that is stored all the same counts by
its own values: equal ones are the embedding once more, others make it a head of its own.
"""

from collections.abc import Mapping
from typing import Any, Final

from globalprune.errors import CheckpointError
from globalprune.models.checkpoints.checkpoint import TensorInfo

EMBEDDING: Final = "model.embed_tokens.weight"
HEAD: Final = "lm_head.weight"
TIED: Final = "tie_word_embeddings"
# what the classes of our families take where config.json is silent; others are asked themselves
BY_DEFAULT: Final = {
    "llama": False,
    "mistral": False,
    "qwen2": False,
    "qwen3": False,
    "phi3": False,
    "olmo2": False,
    "smollm3": True,
    "granite": False,
    "gemma2": True,
    "gemma3_text": True,
    "qwen3_moe": False,
    "mixtral": False,
}


def is_tied(config: Mapping[str, Any]) -> bool:
    """Whether a raw config.json asks for a head that is the embedding."""
    if TIED in config:
        return bool(config[TIED])
    model_type = config.get("model_type")
    if not isinstance(model_type, str):
        return False
    if model_type in BY_DEFAULT:
        return BY_DEFAULT[model_type]
    from transformers import CONFIG_MAPPING

    known = model_type in CONFIG_MAPPING
    return bool(getattr(CONFIG_MAPPING[model_type](), TIED, False)) if known else False


def refuse_headless(config: Mapping[str, Any], tensors: Mapping[str, TensorInfo], at: str) -> None:
    """Raise `CheckpointError` for a head that is missing, or of another shape than it is tied to.

    Without a weight read; only where the names are those of our families.
    """
    embedding, head = tensors.get(EMBEDDING), tensors.get(HEAD)
    if embedding is None and head is None:
        return
    tied = is_tied(config)
    said = f"{TIED} {str(tied).lower()}" + ("" if TIED in config else ", as its class has it")
    if not tied and (embedding is None or head is None):
        missing, there = (EMBEDDING, HEAD) if embedding is None else (HEAD, EMBEDDING)
        raise CheckpointError(
            f"{at}: holds {there} and no {missing}, where config.json says {said}; say {TIED} true "
            "if the two are one, or download the model again."
        )
    if tied and embedding is not None and head is not None and embedding.shape != head.shape:
        raise CheckpointError(
            f"{at}: {HEAD} is {list(head.shape)} and {EMBEDDING} {list(embedding.shape)}, where "
            f"config.json says {said}: one can't be the other. Say {TIED} false and give both "
            "as many rows as vocab_size says, or save the model without a head."
        )
