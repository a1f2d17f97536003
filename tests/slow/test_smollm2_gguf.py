"""The real SmolLM2, cut with every kind of unevenness at once, in the real llama.cpp."""

from pathlib import Path
from typing import Any

import pytest
from command_line import gp
from exporting import continued_by_transformers
from llama_cpp import LlamaCpp
from llama_quantize import quantised

from globalprune.models.loading import load_tokenizer

pytestmark = pytest.mark.slow
PROMPTS = (
    "The history of the printing press begins in",
    "def fibonacci(n):\n    ",
    "<|im_start|>user\nName three colours.<|im_end|>\n<|im_start|>assistant\n",
)
# no attention first and elsewhere, no MLP, groups and odd widths, a layer that goes
PLAN = """\
format: globalprune.plan/1
layers:
  0: {attention: all}
  3: {mlp: "0-111"}
  5: {attention: "1"}
  7: {mlp: "3-262"}
  11: {attention: "0"}
  12: {attention: all}
  14: {mlp: "100-618"}
  16: {attention: all, mlp: all}
  17: {attention: "0, 2"}
  25: {mlp: all}
"""

REPEATED = "red green blue white, red green blue white, red green blue white, red green"
FOUR_BIT_PLAN = """\
format: globalprune.plan/1
layers:
  3: {mlp: "0-511"}
  5: {attention: "1"}
  14: {mlp: "256-511"}
  25: {mlp: "0-31"}
"""


@pytest.fixture(scope="module")
def cut(smollm2: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What is left."""
    folder = tmp_path_factory.mktemp("gguf")
    (folder / "plan.yaml").write_text(PLAN, "utf-8")
    done = gp("apply", smollm2, "--plan", folder / "plan.yaml", "-o", folder / "cut")
    assert done.code == 0, done.err
    return folder / "cut"


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

    assert done.json["padded"] == [{"layer": 0, "half": "attention"}, {"layer": 24, "half": "mlp"}]
    for prompt in PROMPTS:
        ids = runtime.tokens_of(prompt)
        tokens, values = runtime.go_on(ids, 16)
        expected, reference = continued_by_transformers(cut, ids, 16)
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


@pytest.mark.parametrize("kind", ["Q4_0", "Q4_K_M"])
def test_four_bits_of_llama_cpps_own(smollm2: Path, tmp_path: Path, kind: str) -> None:
    """A plan for llama.cpp, the f16 file of its cut, the real quantiser: it still says the same."""
    plan, cut, out = (tmp_path / name for name in ("plan.yaml", "cut", "cut.gguf"))
    plan.write_text(FOUR_BIT_PLAN, "utf-8")
    assert gp("check", plan, "--model", smollm2, "--for", "llama.cpp").code == 0
    assert gp("apply", smollm2, "--plan", plan, "-o", cut).code == 0
    assert gp("export", cut, "--to", "gguf", "-o", out, "--dtype", "f16").code == 0
    small = quantised(out, kind)
    before, after = LlamaCpp(out), LlamaCpp(small)

    assert small.stat().st_size < 0.5 * out.stat().st_size
    ids = before.tokens_of(REPEATED)
    expected, reference = before.go_on(ids, 3)
    tokens, values = after.go_on(ids, 3)
    assert tokens == expected
    assert values == pytest.approx(reference, abs=0.5)
