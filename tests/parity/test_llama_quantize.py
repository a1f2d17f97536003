"""What gp export wrote, through llama.cpp's own quantiser and back into llama.cpp."""

from pathlib import Path
from typing import Any

import pytest
from export_models import PROMPTS, export_folder, save_cut
from llama_cpp import LlamaCpp
from llama_quantize import kinds_of, quantised
from uneven_models import Cut

pytestmark = pytest.mark.runtimes
# groups and widths whose rows are whole K-quant blocks of 256: 4 heads of 64 read each group
SHAPE: dict[str, Any] = {
    "hidden_size": 256,
    "intermediate_size": 768,
    "num_attention_heads": 8,
    "num_key_value_heads": 2,
    "head_dim": 64,
}
UNEVEN: Cut = {
    0: {"attention": (1,), "mlp": range(256)},
    1: {"attention": ()},
    2: {"mlp": range(100, 612)},
}
WITH_BOTH: Cut = {0: UNEVEN[0], 2: UNEVEN[2]}  # Qwen3's form has no layer without attention
KINDS = {"Q4_0": {"Q4_0", "Q6_K"}, "Q4_K_M": {"Q4_K", "Q6_K"}}  # some matrices get more bits


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("family", "cut"),
    [
        ("llama", {}),
        ("llama", UNEVEN),
        ("llama with every bias", UNEVEN),
        ("qwen2", UNEVEN),
        ("qwen3", WITH_BOTH),
    ],
    ids=["llama alike", "llama", "llama with every bias", "qwen2", "qwen3"],
)
def test_a_cut_is_quantised_whole(tmp_path: Path, family: str, cut: Cut, kind: str) -> None:
    """No matrix falls back to another kind; it loads, and writes as many tokens as were asked."""
    folder = save_cut(tmp_path / "model", family, cut, **SHAPE)
    file = quantised(export_folder(folder, "f16").path, kind)

    assert {found for _, found in kinds_of(file)} == KINDS[kind]
    assert len(LlamaCpp(file).go_on(PROMPTS[0], 8)[0]) == 8


def test_rows_that_are_no_whole_block_fall_back(tmp_path: Path) -> None:
    """To a kind of smaller blocks, matrix by matrix, where widths are multiples of 32 alone."""
    cut: Cut = {0: {"mlp": range(32)}, 1: {"attention": ()}}
    folder = save_cut(tmp_path / "model", "llama", cut, **SHAPE)
    kinds = dict(kinds_of(quantised(export_folder(folder, "f16").path, "Q4_K_M")))

    assert kinds["blk.0.ffn_down.weight"] in {"Q5_0", "Q8_0"}
    assert kinds["blk.2.ffn_down.weight"] in {"Q4_K", "Q6_K"}
