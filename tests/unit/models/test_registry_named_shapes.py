"""Well-known models, by their shapes: whose architecture they are, and what a group of them costs.

Yi and DeepSeek's distilled models say the model_type of what they were made from, and are read so.
"""

import pytest
from named_shapes import checkpoint_of

from globalprune.models.registry import adapter_for

# by name: the family, parameters, attention groups and channels of a layer, and their costs
KNOWN = {
    "01-ai/Yi-6B": ("llama", 6_061_035_520, (4, 11008), (4096 * 128 * 18, 3 * 4096)),
    "deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B": (
        "qwen2", 1_777_088_000, (2, 8960), (1536 * 128 * 14 + 128 * 8, 3 * 1536)
    ),
    "deepseek-ai/DeepSeek-R1-Distill-Llama-8B": (
        "llama", 8_030_261_248, (8, 14336), (4096 * 128 * 10, 3 * 4096)
    ),
    "microsoft/Phi-3-mini-4k-instruct": (
        "phi3", 3_821_079_552, (32, 8192), (3072 * 96 * 4, 3 * 3072)
    ),
    "microsoft/phi-4": ("phi3", 14_659_507_200, (10, 17920), (5120 * 128 * 10, 3 * 5120)),
    "microsoft/Phi-4-mini-instruct": (
        "phi3", 3_836_021_760, (8, 8192), (3072 * 128 * 8, 3 * 3072)
    ),
    "allenai/OLMo-2-1124-7B": ("olmo2", 7_298_617_344, (32, 11008), (0, 3 * 4096)),
}  # fmt: skip


@pytest.mark.parametrize("name", KNOWN)
def test_a_model_is_read_by_its_model_type(name: str) -> None:
    """Its parameters are those that it is known for, and no weight is read."""
    family, parameters, groups, costs = KNOWN[name]
    checkpoint = checkpoint_of(name)
    adapter = adapter_for(checkpoint.config)
    structure = adapter.structure(checkpoint)
    assert adapter.name == family
    assert len(set(map(repr, structure.layers))) == 1
    layer = structure.layers[0]
    assert (layer.attention.groups, layer.mlp.groups) == groups
    assert (layer.attention.cost, layer.mlp.cost) == costs
    assert structure.parameters == parameters
