"""PEFT on a cut model, by its own commands: train, merge, save the adapter, read it again."""

from pathlib import Path
from typing import Any

import pytest
import torch
from cut_pairs import IDS, logits_of
from peft import AutoPeftModelForCausalLM, LoraConfig, PeftModel, get_peft_model
from peft.utils.constants import TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING as KNOWN
from tiny_models import FAMILIES, tiny_config, tiny_model
from uneven_models import save_uneven, uneven_cut

from globalprune.models.loading import load_model

pytestmark = [
    # the remnant of an emptied projection has no inputs, so its adapter has none, which is fine
    pytest.mark.filterwarnings("ignore:Initializing zero-element tensors:UserWarning"),
    pytest.mark.filterwarnings(r"ignore:Adapter 'default'. 2 LoRA tensor\(s\) have invalid shape"),
    pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated"),  # peft asks
]


@pytest.fixture(autouse=True)
def _own_modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the copies that transformers makes of remote code out of the machine's cache."""
    from transformers import dynamic_module_utils

    monkeypatch.setattr(dynamic_module_utils, "HF_MODULES_CACHE", str(tmp_path / "modules"))


@pytest.mark.parametrize("targets", ["all-linear", None], ids=["every linear", "by default"])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_trained_adapter_comes_back(tmp_path: Path, family: str, targets: Any) -> None:
    """One step lowers the loss; read again by either door, merged or not, it says the same."""
    save_uneven(tmp_path / "cut", tiny_model(family), uneven_cut(family))
    if targets is None and tiny_config(family).model_type not in KNOWN:
        # what PEFT takes elsewhere
        targets = ["qkv_proj"] if family == "phi3" else ["q_proj", "v_proj"]
    asked = LoraConfig(target_modules=targets, r=4, task_type="CAUSAL_LM")
    adapted: Any = get_peft_model(load_model(tmp_path / "cut"), asked)
    before, after = train_one_step(adapted)
    expected = logits_of(adapted)
    adapted.save_pretrained(tmp_path / "adapter")

    assert after < before
    again: Any = PeftModel.from_pretrained(load_model(tmp_path / "cut"), tmp_path / "adapter")
    assert logits_of(again.eval()).equal(expected)
    by_name = AutoPeftModelForCausalLM.from_pretrained(tmp_path / "adapter", trust_remote_code=True)
    assert logits_of(by_name.eval()).equal(expected)
    for merged in (adapted.merge_and_unload(), load_model(tmp_path / "adapter")):
        torch.testing.assert_close(logits_of(merged), expected, rtol=0, atol=1e-3)


def train_one_step(model: Any) -> tuple[float, float]:
    """The loss on `IDS` before and after a step of AdamW."""
    optimiser = torch.optim.AdamW((p for p in model.parameters() if p.requires_grad), lr=1e-2)
    loss = model(IDS, labels=IDS).loss
    loss.backward()
    optimiser.step()
    model.eval()
    with torch.no_grad():
        return float(loss), float(model(IDS, labels=IDS).loss)
