"""What the modeling file does for vLLM alone; tests/parity/test_vllm.py asks the real program."""

import ast
import inspect
import textwrap
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_models import random_ids, tiny_model
from torch import nn
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from uneven_models import save_uneven, uneven_cut

from globalprune.models.loading import load_model
from globalprune.models.modeling_globalprune import NoAttention


def test_a_lost_attention_reads_as_one() -> None:
    """VLLM looks for one call of what a name took from ALL_ATTENTION_FUNCTIONS, in every layer."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(NoAttention.forward)))
    names = [
        node.targets[0].id
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
        if ast.unparse(node.value).startswith("ALL_ATTENTION_FUNCTIONS[")
    ]
    calls = [ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)]

    assert [name for name in calls if name in names] == names
    assert len(names) == 1


def test_an_output_bias_is_no_linear_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """VLLM's own linears would take its place, and end the process for want of inputs."""
    save_uneven(tmp_path, tiny_model("llama_tied_bias"), uneven_cut("llama_tied_bias"))
    monkeypatch.setitem(ALL_ATTENTION_FUNCTIONS._global_mapping, "vllm", sdpa_attention_forward)
    usual = load_model(tmp_path)
    model_class: Any = type(usual)
    there = model_class.from_pretrained(tmp_path, attn_implementation="vllm").eval()
    paths = ("model.layers.0.self_attn.o_proj", "model.layers.2.mlp.down_proj")
    ids = random_ids(2, 9)

    for path in paths:
        assert isinstance(usual.get_submodule(path), nn.Linear)
        assert not isinstance(there.get_submodule(path), nn.Linear)
    assert usual.state_dict().keys() == there.state_dict().keys()
    with torch.no_grad():
        found, expected = there(ids).logits, usual(ids).logits
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


def test_granite_logits_are_divided_there_too(tmp_path: Path) -> None:
    """VLLM's way with transformers' models knows another name; it isn't saved."""
    save_uneven(tmp_path, tiny_model("granite"), uneven_cut("granite"))
    config: Any = load_model(tmp_path).config

    assert config.logit_scale == pytest.approx(1 / 3)
    assert "logit_scale" not in config.to_dict()
