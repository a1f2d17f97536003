"""The real SmolLM2, cut with every kind of unevenness at once, in the real llama.cpp."""

from pathlib import Path
from typing import Any

import pytest
from command_line import gp
from export_models import continue_in_transformers
from llama_cpp import LlamaCpp
from smollm2_cut import PLAN, PROMPTS, cut_by

from globalprune.models.tokenizer import load_tokenizer

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def cut(smollm2: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What is left."""
    return cut_by(PLAN, smollm2, tmp_path_factory.mktemp("gguf"))


@pytest.mark.parametrize(("dtype", "near"), [("f32", 1e-3), ("f16", 0.05)])
def test_a_cut_says_the_same(
    cut: Path, smollm2_gguf: Path, tmp_path: Path, dtype: str, near: float
) -> None:
    """Sixteen tokens behind three prompts, and how sure it is of each."""
    out = tmp_path / "cut.gguf"
    words = ("--dtype", dtype, "--donor", smollm2_gguf)
    done = gp("export", cut, "--to", "gguf", "-o", out, *words, "--json")
    assert done.code == 0, done.err
    runtime = LlamaCpp(out)

    assert done.json["padded"] == [
        {"layer": 0, "half": "attention"},
        {"layer": 24, "half": "mlp"},
    ]
    for prompt in PROMPTS:
        ids = runtime.tokens_of(prompt)
        tokens, values = runtime.go_on(ids, 16)
        expected, reference = continue_in_transformers(cut, ids, 16)
        assert tokens == expected[: len(tokens)]
        assert len(tokens) > 3
        assert values == pytest.approx(reference[: len(tokens)], abs=near)


def test_its_own_tokenizer_cuts_text_as_transformers_does(cut: Path, tmp_path: Path) -> None:
    """Though that is not how SmolLM2's donor does: transformers reads no digits from a GGUF."""
    out = tmp_path / "cut.gguf"
    assert gp("export", cut, "--to", "gguf", "-o", out, "--dtype", "q8_0").code == 0
    runtime, tokenizer = LlamaCpp(out), load_tokenizer(cut)
    found: Any = [runtime.tokens_of(prompt) for prompt in (*PROMPTS, "In 1439, 12.5 %")]

    assert found == [tokenizer(prompt).input_ids for prompt in (*PROMPTS, "In 1439, 12.5 %")]
