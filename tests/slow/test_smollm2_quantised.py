"""The real SmolLM2, cut for llama.cpp, through its own quantiser: `make test-runtimes`."""

from pathlib import Path

import pytest
from command_line import gp
from llama_cpp import LlamaCpp
from llama_quantize import quantised

pytestmark = pytest.mark.runtimes
REPEATED = "red green blue white, red green blue white, red green blue white, red green"
FOUR_BIT_PLAN = """\
format: globalprune.plan/1
layers:
  3: {mlp: "0-511"}
  5: {attention: "1"}
  14: {mlp: "256-511"}
  25: {mlp: "0-31"}
"""


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
