"""`--explain` tells the executor's own steps, layer by layer."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import pytest
from applying import ALL_CHANNELS, applied, explained
from cutting import Removals, cuttable, write_removals
from tiny_models import FAMILIES

from globalprune.surgery import executor
from globalprune.surgery.explain import document_name, step_document
from globalprune.surgery.steps import Step

Tiny = Callable[[str], Path]
MIXED: Removals = {
    0: {"attention": [0]},
    1: {"attention": [0, 1], "mlp": ALL_CHANNELS},
    3: {"mlp": [2, 3, 9]},
}


@pytest.mark.parametrize("family", FAMILIES)
def test_the_document_lists_the_steps_that_are_executed(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, family: str
) -> None:
    """Each step once, in order, with all that it knows; nothing more is done."""
    executed: list[dict[str, Any]] = []
    execute = executor._execute

    def noting(step: Any, *arguments: Any) -> None:
        executed.append(step_document(step))
        execute(step, *arguments)

    monkeypatch.setattr(executor, "_execute", noting)
    gone = cuttable(family, {0: {"attention": [0]}, 3: {"mlp": [2, 3, 9]}})
    told = explained(tiny(family), write_removals(tmp_path / "plan.yaml", gone)).document
    applied(tiny(family), tmp_path, gone)
    assert told["steps"] == executed
    assert {"KeepTensor", "SliceTensor", "WriteConfig"} <= {step["step"] for step in executed}


def test_the_documents_names_of_steps_never_change() -> None:
    """Programs read them, whatever the classes are called here."""
    assert sorted(map(document_name, get_args(Step))) == [
        "ConvertTensor",
        "CopyCompanion",
        "CopyModelingFile",
        "DropLayer",
        "DropTensor",
        "EmptyHalf",
        "KeepTensor",
        "RefitTensor",
        "RenumberLayer",
        "SliceTensor",
        "SolveTensor",
        "WriteConfig",
        "WriteTokenizer",
    ]


def test_the_document_is_json(tiny: Tiny, tmp_path: Path) -> None:
    """Every value survives the way through a file, ranges as lists."""
    plan = write_removals(tmp_path / "plan.yaml", MIXED)
    document = explained(tiny("llama_tied_bias"), plan).document
    read = json.loads(json.dumps(document))
    assert read.keys() == {
        "model", "parameters_before", "parameters_after", "warnings", "steps",
        "bytes_before", "bytes_after", "before_dtypes", "after_dtypes", "save_dtype",
    }  # fmt: skip
    by_name = {step.get("name"): step for step in read["steps"]}
    assert by_name["model.layers.3.mlp.down_proj.weight"] == {
        "step": "SliceTensor",
        "layer": 3,
        "name": "model.layers.3.mlp.down_proj.weight",
        "becomes": "model.layers.3.mlp.down_proj.weight",
        "dim": 1,
        "kept": [[0, 2], [4, 9], [10, 24]],
        "before": {"shape": [32, 24], "dtype": "F32"},
        "facts": {"shape": [32, 21], "dtype": "F32"},
    }


def test_the_text_tells_what_changes_and_nothing_else(tiny: Tiny, tmp_path: Path) -> None:
    """A layer that stays as it is gets no line; biases that outlive their sublayer are named."""
    plan = write_removals(tmp_path / "plan.yaml", MIXED)
    lines = explained(tiny("llama_tied_bias"), plan).lines
    layers = [line for line in lines if line.startswith("layer ")]
    emptied = "attention goes whole but o_proj.bias, mlp goes whole but down_proj.bias"
    assert layers == [
        "layer 0: attention 2 → 1 groups",
        f"layer 1: attention 2 → 0 groups, mlp 24 → 0 channels, {emptied}",
        "layer 3: mlp 24 → 21 channels",
    ]
    [cut] = [line for line in lines if "down_proj.weight 32×21" in line]
    assert "gate_proj.bias 21" in cut
    assert "up_proj.weight 21×32" in cut
    assert "down_proj.bias" not in cut


def test_dropped_and_renumbered_layers_are_told(tiny: Tiny, tmp_path: Path) -> None:
    """A reader sees which layer becomes which."""
    whole: Removals = {1: {"attention": [0, 1, 2, 3], "mlp": ALL_CHANNELS}}
    lines = explained(tiny("llama"), write_removals(tmp_path / "plan.yaml", whole)).lines
    assert [line for line in lines if line.startswith("layer ")] == [
        "layer 1: the whole layer goes",
        "layer 2: becomes layer 1",
        "layer 3: becomes layer 2",
    ]
    assert "config.json gets new sizes, the same for every layer" in lines


@pytest.mark.parametrize(
    ("gone", "text"),
    [
        ({}, "config.json stays as it was"),
        (
            {0: {"mlp": [1]}},
            "config.json gets the sizes of every layer: layer 0 has 23 MLP channels",
        ),
    ],
    ids=["empty plan", "uneven"],
)
def test_the_form_of_the_config_is_told(
    tiny: Tiny, tmp_path: Path, gone: Removals, text: str
) -> None:
    """And why the native format won't do, where it won't."""
    explanation = explained(tiny("llama"), write_removals(tmp_path / "plan.yaml", gone))
    assert any(line.startswith(text) for line in explanation.lines)
    assert ("no layer changes" in explanation.lines) == (not gone)
