"""lm-eval by its own command on a cut folder: the numbers that gp eval gives, offline."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from command_line import gp
from peft import LoraConfig, get_peft_model
from task_files import write_task
from tiny_models import tiny_model
from uneven_models import save_uneven, uneven_cut

from globalprune.models.loading import load_model
from globalprune.models.quiet import quiet_peft

pytestmark = pytest.mark.slow


def asked_by_command(model_args: str, task: Path, folder: Path) -> Any:
    """What `lm_eval run` writes of one task, in a process of its own without a network."""
    command = [
        *(sys.executable, "-m", "lm_eval", "run", "--model", "hf", "--trust_remote_code"),
        *("--model_args", f"{model_args},dtype=float32", "--device", "cpu"),
        *("--tasks", task.stem, "--include_path", str(task.parent)),
        *("--batch_size", "2", "--output_path", str(folder)),
    ]
    offline = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "HF_HOME": str(folder / "home")}
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env=os.environ | offline
    )
    assert done.returncode == 0, done.stderr[-2000:]
    [written] = folder.glob("**/results_*.json")
    return json.loads(written.read_text("utf-8"))["results"][task.stem]


def save_adapter(model: Path, folder: Path) -> Path:
    """Save a drawn LoRA adapter for a cut model, as PEFT does."""
    asked = LoraConfig(init_lora_weights=False, r=4, task_type="CAUSAL_LM")
    with quiet_peft():
        adapted: Any = get_peft_model(load_model(model), asked)
    adapted.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("adapted", [False, True], ids=["cut", "cut with an adapter"])
def test_both_commands_give_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, adapted: bool
) -> None:
    """Layers that differ and sublayers that are gone: every metric, and its standard error."""
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_OFFLINE", True)
    model, tasks = tmp_path / "model", tmp_path / "tasks"
    save_uneven(model, tiny_model("llama"), uneven_cut("llama"))
    judged, model_args = model, f"pretrained={model}"
    if adapted:
        judged = save_adapter(model, tmp_path / "adapter")
        model_args += f",peft={judged}"
    tasks.mkdir()
    task = write_task(tasks, questions=40)
    theirs = asked_by_command(model_args, task, tmp_path / "theirs")
    words = ("--tasks", task.stem, "--tasks-path", tasks, "--batch-size", 2)
    done = gp("eval", judged, *words, "--no-speed", "--samples", 2, "--seq-len", 32, "--json")
    assert done.code == 0, done.err
    ours = done.json["models"][0]["tasks"][task.stem]["metrics"]

    assert 0 < theirs["acc,none"] < 1
    for metric in ("acc", "acc_norm"):
        assert ours[metric]["value"] == theirs[f"{metric},none"]
        assert ours[metric]["standard_error"] == theirs[f"{metric}_stderr,none"]
