"""The real SmolLM2 with every kind of unevenness at once, and what other programs go on with."""

from pathlib import Path

from command_line import gp

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


def cut_by(plan: str, model: Path, folder: Path) -> Path:
    """Write the plan into `folder`, and beside it what it leaves of the model; return that."""
    folder.mkdir(exist_ok=True)
    (folder / "plan.yaml").write_text(plan, "utf-8")
    done = gp("apply", model, "--plan", folder / "plan.yaml", "-o", folder / "cut")
    assert done.code == 0, done.err
    return folder / "cut"
