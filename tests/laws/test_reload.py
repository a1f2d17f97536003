"""Law 8: a saved model reloads in a fresh process to the same logits, with nothing of ours."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from applying import apply_plan
from cutting import Removals, what_stays, write_removals
from safetensors.torch import load_file
from tiny_models import random_ids, tiny_model
from uneven_models import masked

# a stranger's machine: transformers, and no globalprune to import
STRANGER = """
import sys
sys.modules["globalprune"] = None
import torch
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM
folder, trust, answer = sys.argv[1:]
model = AutoModelForCausalLM.from_pretrained(folder, trust_remote_code=trust == "trust").eval()
ids = torch.randint(0, 256, (2, 9), generator=torch.Generator().manual_seed(0))
with torch.no_grad():
    save_file({"logits": model(ids).logits.contiguous()}, answer)
print(type(model).__name__)
"""
EQUAL: Removals = {
    layer: {"attention": [layer % 2], "mlp": list(range(layer, layer + 8))} for layer in range(4)
}
# no attention in the first layer, on which cache and masks look; layer 2 leaves whole
UNEVEN: Removals = {
    0: {"attention": [0, 1, 2, 3]},
    1: {"mlp": [1, 5, 6]},
    2: {"attention": [0, 1, 2, 3], "mlp": list(range(24))},
    3: {"attention": [2], "mlp": list(range(24))},
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("gone", "trust", "kind"),
    [
        pytest.param(EQUAL, "stock", "LlamaForCausalLM", id="native"),
        pytest.param(UNEVEN, "trust", "PrunedLlamaForCausalLM", id="uneven"),
    ],
)
def test_a_fresh_process_reloads_to_the_same_logits(
    tmp_path: Path, gone: Removals, trust: str, kind: str
) -> None:
    """Stock transformers alone gives the masked original's logits."""
    from tiny_models import save_tiny

    # 6 of 8 query heads would not divide 32 evenly, which LlamaConfig refuses
    heads = {"num_attention_heads": 8, "num_key_value_heads": 4, "hidden_size": 48}
    base = save_tiny(tmp_path / "base", "llama", **heads)
    out, answer = tmp_path / "out", tmp_path / "logits.safetensors"
    apply_plan(base, write_removals(tmp_path / "plan.yaml", gone), out)
    done = subprocess.run(
        [sys.executable, "-c", STRANGER, str(out), trust, str(answer)],
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[-1] == kind
    expected = masked(tiny_model("llama", **heads), what_stays("llama", gone))
    with torch.no_grad():
        logits = expected(random_ids(2, 9)).logits
    torch.testing.assert_close(load_file(answer)["logits"], logits, rtol=0, atol=1e-4)


def test_an_uneven_model_never_loads_without_its_code(
    tiny: Callable[[str], Path], tmp_path: Path
) -> None:
    """A plain load is an error, never a model with random blocks."""
    from transformers import AutoModelForCausalLM, LlamaForCausalLM

    out = tmp_path / "out"
    plan = write_removals(tmp_path / "plan.yaml", {1: {"attention": [0, 1, 2, 3]}})
    apply_plan(tiny("llama"), plan, out)

    with pytest.raises(Exception, match="num_attention_heads"):
        LlamaForCausalLM.from_pretrained(out)
    with pytest.raises(Exception, match="num_attention_heads"):
        AutoModelForCausalLM.from_pretrained(out, trust_remote_code=False)
