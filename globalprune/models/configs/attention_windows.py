"""How far back the attention of every layer sees, by the rules of the model's own class.

Families say it by a kind for every layer, by one window for all, or by the number of the first
layer that has one. transformers builds a model's cache by those rules, so the cache is asked.
"""

from typing import Any

from globalprune.models.sources.source import ModelSource


def attention_windows(config: dict[str, Any], source: ModelSource) -> tuple[int | None, ...]:
    """Tokens that each layer's attention sees, itself among them; None where it sees all.

    Raise `CheckpointError` for a config that no class takes.
    """
    # transformers is slow to import, and what is refused before takes none of it
    from transformers import DynamicCache
    from transformers.cache_utils import DynamicSlidingWindowLayer

    from globalprune.models.configs.class_config import class_config

    built = class_config(config, None if source.is_gguf else source.path)
    return tuple(
        layer.sliding_window or None if isinstance(layer, DynamicSlidingWindowLayer) else None
        for layer in DynamicCache(config=built).layers
    )
