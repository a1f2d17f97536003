"""The families that globalprune knows: a literal table, each with the paper that describes it.

Any other type is proved when it is met.
"""

from typing import Any

from globalprune.errors import UnsupportedArchitecture
from globalprune.models.architecture import ModelAdapter
from globalprune.models.discovery.families import proved_adapter
from globalprune.models.gated_decoder.adapter import GatedDecoder
from globalprune.models.gated_decoder.form import (
    ACROSS_HEADS,
    FUSED_PROJECTIONS,
    PER_HEAD,
    POST_NORMS,
    SANDWICH_NORMS,
    LayerForm,
    MixtureOfExperts,
)
from globalprune.progress import Progress, silent

ADAPTERS: dict[str, ModelAdapter] = {
    "llama": GatedDecoder("llama"),  # https://arxiv.org/abs/2302.13971
    "mistral": GatedDecoder("mistral"),  # https://arxiv.org/abs/2310.06825
    "qwen2": GatedDecoder("qwen2"),  # https://arxiv.org/abs/2407.10671
    "qwen3": GatedDecoder(  # https://arxiv.org/abs/2505.09388
        "qwen3", LayerForm(query_key_norms=PER_HEAD)
    ),
    "phi3": GatedDecoder(  # Phi-4 too; https://arxiv.org/abs/2404.14219, 2412.08905
        "phi3", LayerForm(projections=FUSED_PROJECTIONS)
    ),
    "olmo2": GatedDecoder(  # https://arxiv.org/abs/2501.00656
        "olmo2", LayerForm(norms=POST_NORMS, query_key_norms=ACROSS_HEADS)
    ),
    "smollm3": GatedDecoder("smollm3"),  # https://huggingface.co/blog/smollm3
    "granite": GatedDecoder(  # https://arxiv.org/abs/2405.04324
        "granite", residual_scale="residual_multiplier"
    ),
    "gemma2": GatedDecoder(  # https://arxiv.org/abs/2408.00118
        "gemma2", LayerForm(norms=SANDWICH_NORMS), final_norm_offset=1.0
    ),
    "gemma3_text": GatedDecoder(  # https://arxiv.org/abs/2503.19786
        "gemma3_text",
        LayerForm(norms=SANDWICH_NORMS, query_key_norms=PER_HEAD),
        final_norm_offset=1.0,
    ),
    "qwen3_moe": GatedDecoder(  # https://arxiv.org/abs/2505.09388
        "qwen3_moe", LayerForm(query_key_norms=PER_HEAD, mixture=MixtureOfExperts())
    ),
    "mixtral": GatedDecoder(  # https://arxiv.org/abs/2401.04088
        "mixtral",
        LayerForm(
            mixture=MixtureOfExperts("block_sparse_moe.", "w1", "w3", "w2", "intermediate_size")
        ),
    ),
}


def adapter_for(config: dict[str, Any], progress: Progress = silent) -> ModelAdapter:
    """Return the adapter of a raw config.json, proved on a small model where no table has it.

    Raise `UnsupportedArchitecture` with the reason if no part of such a model can be cut.
    """
    model_type = config.get("model_type")
    if not isinstance(model_type, str):
        found = "no model_type" if model_type is None else f"model_type {model_type!r}"
        raise UnsupportedArchitecture(
            f"config.json: {found}, which globalprune can't cut; mend the file."
        )
    return ADAPTERS.get(model_type) or proved_adapter(config, progress)
