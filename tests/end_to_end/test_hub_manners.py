"""A result as the Hub sees it: its card, its index, and files that are the base model's own."""

import json
from collections.abc import Callable
from pathlib import Path
from shutil import copytree
from typing import Any

import pytest
from command_line import gp
from cutting import Removals, write_removals
from huggingface_hub import ModelCard
from text_files import numbered_text

from globalprune.models.checkpoints import shard_writer

UNEVEN: Removals = {1: {"mlp": range(9)}}
OWN = {
    "chat_template.jinja": "{% for message in messages %}{{ message.content }}\r\n{% endfor %}",
    "generation_config.json": '{"do_sample":true,   "top_k": 3}',
    "LICENSE": "Apache License\nVersion 2.0",
}


@pytest.fixture
def base(tiny: Callable[[str], Path], tmp_path: Path) -> Path:
    """A model with a chat template, a licence and a card of its own."""
    folder = Path(copytree(tiny("llama"), tmp_path / "base"))
    for name, text in OWN.items():
        (folder / name).write_bytes(text.encode())
    (folder / "README.md").write_text("---\nlicense: apache-2.0\ntags: [theirs]\n---\n# Base\n")
    return folder


def test_a_judged_result_shows_its_perplexity(base: Path, tmp_path: Path) -> None:
    """huggingface_hub reads the figure that was printed, and the base's licence."""
    plan, text = write_removals(tmp_path / "plan.yaml", UNEVEN), tmp_path / "text.txt"
    text.write_text(numbered_text(800), "utf-8")
    done = gp("apply", base, "--plan", plan, "-o", tmp_path / "small", "--eval", text, "--json")
    assert done.code == 0, done.err

    data: Any = ModelCard.load(tmp_path / "small" / "README.md").data
    [result] = data.eval_results
    [_, ours] = done.json["evaluation"]["models"]
    assert result.metric_value == pytest.approx(ours["perplexity"]["value"], rel=1e-5)
    assert result.dataset_name == "text.txt"
    assert data.license == "apache-2.0"
    assert data.library_name == "transformers"
    assert data.pipeline_tag == "text-generation"
    assert data.tags == ["pruned", "globalprune"]


def test_what_is_not_cut_is_byte_for_byte_the_bases(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tokenizer, chat template and licence; and the index of shards says where all is."""
    monkeypatch.setattr(shard_writer, "MAX_SHARD_BYTES", 20_000)
    plan = write_removals(tmp_path / "plan.yaml", UNEVEN)
    done = gp("apply", base, "--plan", plan, "-o", tmp_path / "small", "--json")
    assert done.code == 0, done.err

    out = tmp_path / "small"
    for name in (*OWN, "tokenizer.json", "tokenizer_config.json"):
        assert (out / name).read_bytes() == (base / name).read_bytes(), name
    index = json.loads((out / "model.safetensors.index.json").read_text("utf-8"))
    assert index["metadata"]["total_parameters"] == done.json["parameters_after"]
    assert index["metadata"]["total_size"] == done.json["weight_bytes"]
    assert set(index["weight_map"].values()) == {one.name for one in out.glob("*.safetensors")}
