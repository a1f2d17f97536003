"""What is decided before a byte is written: warnings, the form of the config, the steps."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from applying import applied, prepared_cut
from cutting import Removals, write_removals
from measuring import described
from tiny_models import save_tiny

from globalprune.errors import PlanInvalid, PlanStale
from globalprune.models.checkpoints.identity import weights_fingerprint
from globalprune.models.checkpoints.open import open_checkpoint
from globalprune.models.sources.source import resolve_model
from globalprune.surgery.steps import CopyModelingFile, WriteConfig

Tiny = Callable[[str], Path]


def write_plan_for(path: Path, model: Path, *, weights: str) -> Path:
    """Write a plan that says it was made for `model` and these weights."""
    structure = described(model)[1].fingerprint
    made_for = {"source": "the/original", "structure": structure, "weights": weights}
    lines = ["format: globalprune.plan/1", f"model: {json.dumps(made_for)}"]
    path.write_text("\n".join([*lines, "layers: {1: {mlp: 3}}"]) + "\n")
    return path


def fingerprint(folder: Path, *, full: bool = False) -> str:
    """The weights fingerprint of a folder."""
    return weights_fingerprint(open_checkpoint(resolve_model(str(folder))), full=full)


@pytest.mark.parametrize("full", [False, True], ids=["quick", "full"])
def test_a_relative_is_cut_with_a_warning_that_names_both(
    tiny: Tiny, tmp_path: Path, full: bool
) -> None:
    """A finetune of the same structure is welcome, and its user knows what was mixed."""
    made_for = fingerprint(tiny("llama"), full=full)
    finetune = save_tiny(tmp_path / "finetune", "llama", seed=1)
    plan = write_plan_for(tmp_path / "plan.yaml", finetune, weights=made_for)
    [warning] = prepared_cut(finetune, plan).warnings
    assert f"was made for the/original (weights {made_for})" in warning
    assert f"{finetune} has the same structure but other weights" in warning
    assert fingerprint(finetune, full=full) in warning


@pytest.mark.parametrize("full", [False, True], ids=["quick", "full"])
def test_the_model_itself_gives_no_warning(tiny: Tiny, tmp_path: Path, full: bool) -> None:
    """The two forms of fingerprint are never compared with each other."""
    weights = fingerprint(tiny("llama"), full=full)
    plan = write_plan_for(tmp_path / "plan.yaml", tiny("llama"), weights=weights)
    assert prepared_cut(tiny("llama"), plan).warnings == ()


def test_another_structure_is_refused(tiny: Tiny, tmp_path: Path) -> None:
    """A plan's numbers mean nothing there."""
    plan = write_plan_for(tmp_path / "plan.yaml", tiny("llama"), weights="sha256:0")
    with pytest.raises(PlanStale, match=r"whose structure is sha256:.*; this one has sha256:"):
        prepared_cut(tiny("qwen2"), plan)


def test_an_index_that_the_model_lacks_is_refused(tiny: Tiny, tmp_path: Path) -> None:
    """A plan without a fingerprint is checked against the model just the same."""
    plan = write_removals(tmp_path / "plan.yaml", {0: {"attention": [4]}, 9: {"mlp": [0]}})
    with pytest.raises(PlanInvalid, match="2 problems") as caught:
        prepared_cut(tiny("llama"), plan)
    assert len(caught.value.problems) == 2


def test_a_shape_that_the_config_class_refuses_becomes_uneven(tiny: Tiny, tmp_path: Path) -> None:
    """6 heads don't divide a hidden size of 32, which LlamaConfig wants; the reason is told."""
    gone: Removals = {layer: {"attention": [layer]} for layer in range(4)}
    prepared = prepared_cut(tiny("llama"), write_removals(tmp_path / "plan.yaml", gone))
    [config] = [step for step in prepared.steps if isinstance(step, WriteConfig)]
    assert (config.changed, config.uneven) == (True, True)
    assert config.reason is not None
    assert config.reason.startswith("LlamaConfig refuses the shape: ")
    assert "32" in config.reason
    assert any(isinstance(step, CopyModelingFile) for step in prepared.steps)
    result = applied(tiny("llama"), tmp_path, gone)
    assert (result.uneven, result.reason) == (True, config.reason)


EQUAL: list[Any] = [
    pytest.param("llama", {"attention": [0, 3], "mlp": [1]}, (4, 2, 23), id="llama"),
    pytest.param("qwen2", {"attention": [1]}, (4, 2, 24), id="qwen2"),
    pytest.param("qwen3", {"mlp": [0, 23]}, (6, 3, 22), id="qwen3"),
]


@pytest.mark.parametrize(("family", "sublayers", "sizes"), EQUAL)
def test_equal_layers_stay_a_vanilla_checkpoint(
    tiny: Tiny, tmp_path: Path, family: str, sublayers: Any, sizes: tuple[int, int, int]
) -> None:
    """Only the sizes differ from the original's config, and no code goes along."""
    result = applied(tiny(family), tmp_path, dict.fromkeys(range(4), sublayers))
    before = json.loads((tiny(family) / "config.json").read_text())
    keys = ("num_attention_heads", "num_key_value_heads", "intermediate_size")
    after = json.loads((Path(result.out) / "config.json").read_text())
    assert not result.uneven
    assert after == before | dict(zip(keys, sizes, strict=True))
    assert not list(Path(result.out).rglob("*.py"))


def test_a_pin_that_the_decisions_break_is_a_warning(tiny: Tiny, tmp_path: Path) -> None:
    """The hand edit is applied, and the person hears of the wish that it breaks."""
    plan = tmp_path / "plan.yaml"
    plan.write_text(
        "format: globalprune.plan/1\n"
        'pin: {1: {attention: {keep: "0"}}}\n'
        'layers: {1: {attention: "0"}}\n'
    )

    assert prepared_cut(tiny("llama"), plan).warnings == (
        (
            f"{plan}: pin.1.attention.keep: 0 is pinned to stay, and goes; "
            "change the pin or the layer, or plan again."
        ),
    )
