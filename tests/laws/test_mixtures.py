"""The laws of a cut, for models whose MLPs are mixtures of experts."""

import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from applying import apply_plan
from cutting import Removals, tensors_in, write_removals
from hypothesis import given, settings
from hypothesis import strategies as st
from mixture_cuts import EXPERTS, WIDTH, masked_mixture, removals
from tiny_models import MIXTURES, random_ids
from transformers import AutoModelForCausalLM

from globalprune.models.discovery.double_arithmetic import DoubleArithmetic
from globalprune.models.loading import load_model

IDS = random_ids(2, 9)
Tiny = Callable[[str], Path]
ALIKE = [expert * WIDTH + channel for expert in range(EXPERTS) for channel in (0, 5)]


@pytest.mark.parametrize("family", MIXTURES)
@settings(max_examples=8, deadline=None)
@given(data=st.data())
def test_cutting_equals_masking_and_counts_are_exact(
    tiny: Tiny, family: str, data: st.DataObject
) -> None:
    """Laws 1 and 3: experts of any widths give the masked original's logits."""
    gone = data.draw(removals(family))
    with tempfile.TemporaryDirectory() as name, torch.no_grad():
        plan = write_removals(Path(name) / "plan.yaml", gone)
        applied = apply_plan(tiny(family), plan, Path(name) / "out")
        stored = sum(tensor.numel() for tensor in tensors_in(Path(name) / "out").values())
        assert stored == applied.parameters_after
        with DoubleArithmetic():
            found = load_model(applied.out, dtype=torch.float32).double()
            _run_plainly(found)
            expected = masked_mixture(family, gone).double()
            torch.testing.assert_close(found(IDS).logits, expected(IDS).logits, rtol=0, atol=1e-9)


@pytest.mark.parametrize("family", MIXTURES)
def test_no_plan_is_the_identity(tiny: Tiny, family: str, tmp_path: Path) -> None:
    """Law 2: not one bit differs, and the checkpoint is the family's own."""
    out = tmp_path / "out"
    apply_plan(tiny(family), write_removals(tmp_path / "plan.yaml", {}), out)

    before, after = tensors_in(tiny(family)), tensors_in(out)
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert _config(out) == _config(tiny(family))


@pytest.mark.parametrize("family", MIXTURES)
def test_cutting_twice_is_cutting_once(tiny: Tiny, family: str, tmp_path: Path) -> None:
    """What was cut is cut again like any other model; its indices are its own."""
    first = write_removals(
        tmp_path / "first.yaml", {0: {"mlp": [0, 1, 9]}, 2: {"attention": [0, 1]}}
    )
    again = write_removals(
        tmp_path / "again.yaml", {0: {"mlp": [0, 6]}, 2: {"mlp": list(range(8))}}
    )
    once = write_removals(
        tmp_path / "once.yaml",
        {0: {"mlp": [0, 1, 2, 8, 9]}, 2: {"attention": [0, 1], "mlp": list(range(8))}},
    )

    apply_plan(tiny(family), first, tmp_path / "a")
    apply_plan(tmp_path / "a", again, tmp_path / "b")
    apply_plan(tiny(family), once, tmp_path / "c")

    found, expected = tensors_in(tmp_path / "b"), tensors_in(tmp_path / "c")
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in found)
    assert _config(tmp_path / "b") == _config(tmp_path / "c")


@pytest.mark.parametrize("family", MIXTURES)
def test_a_stranger_loads_it_saves_it_and_loads_it_again(
    tiny: Tiny, family: str, tmp_path: Path
) -> None:
    """Law 8: stock transformers and the file in the folder; the names in the file stay."""
    gone: Removals = {
        0: {"mlp": [0, 1, 9, 10, 11]},
        2: {"attention": [0, 1]},
        3: {"mlp": list(range(8, 16))},
    }
    apply_plan(tiny(family), write_removals(tmp_path / "plan.yaml", gone), tmp_path / "out")
    kind: Any = AutoModelForCausalLM

    opened = kind.from_pretrained(tmp_path / "out", trust_remote_code=True)
    opened.save_pretrained(tmp_path / "saved")
    again = kind.from_pretrained(tmp_path / "saved", trust_remote_code=True)

    assert tensors_in(tmp_path / "saved").keys() == tensors_in(tmp_path / "out").keys()
    expected = masked_mixture(family, gone)
    with torch.no_grad():
        for model in (opened, again):
            torch.testing.assert_close(model(IDS).logits, expected(IDS).logits, rtol=0, atol=1e-5)


@pytest.mark.parametrize("family", MIXTURES)
@pytest.mark.parametrize(
    "gone",
    [{0: {"mlp": [0]}}, {0: {"mlp": list(range(EXPERTS * WIDTH))}}, {0: {"mlp": ALIKE}}],
    ids=["a channel", "a mixture", "two channels of each expert"],
)
def test_a_plain_load_never_yields_random_experts(
    tiny: Tiny, family: str, gone: Any, tmp_path: Path
) -> None:
    """Without the modeling file it is an error."""
    apply_plan(tiny(family), write_removals(tmp_path / "plan.yaml", gone), tmp_path / "out")
    kind: Any = AutoModelForCausalLM

    with pytest.raises(Exception, match=r"intermediate_size|skip|size mismatch"):
        kind.from_pretrained(tmp_path / "out", trust_remote_code=False)


def test_layers_that_are_alike_are_a_plain_checkpoint(tiny: Tiny, tmp_path: Path) -> None:
    """Layers less move what Qwen's config says by their numbers."""
    gone: Removals = {0: {"attention": [0, 1], "mlp": list(range(EXPERTS * WIDTH))}}
    apply_plan(tiny("qwen3_moe"), write_removals(tmp_path / "p.yaml", gone), tmp_path / "out")
    config = _config(tmp_path / "out")

    assert config["architectures"] == ["Qwen3MoeForCausalLM"]
    assert (config["mlp_only_layers"], config["decoder_sparse_step"]) == ([0], 1)
    kind: Any = AutoModelForCausalLM
    model = kind.from_pretrained(tmp_path / "out", trust_remote_code=False)
    with torch.no_grad():
        expected = masked_mixture("qwen3_moe", gone)(IDS).logits
        torch.testing.assert_close(model(IDS).logits, expected, rtol=0, atol=1e-5)


def test_widths_that_transformers_cannot_multiply_stay_ours(tiny: Tiny, tmp_path: Path) -> None:
    """Its product of all experts at once wants rows of 16 bytes, whatever the dtype."""
    gone: Removals = {layer: {"mlp": ALIKE} for layer in range(4)}
    apply_plan(tiny("mixtral"), write_removals(tmp_path / "p.yaml", gone), tmp_path / "out")
    config = _config(tmp_path / "out")

    assert config["architectures"] == ["PrunedMixtralForCausalLM"]
    assert {own["intermediate_size"] for own in config["per_layer_config"].values()} == {6}


def _config(folder: Path) -> Any:
    return json.loads((folder / "config.json").read_text())


def _run_plainly(model: Any) -> None:
    """Let a stock mixture run each expert's loop, which any dtype can."""
    if type(model).__module__.startswith("transformers."):
        model.set_experts_implementation("eager")
