"""Law 2: an empty plan is the identity, and a tensor with nothing cut is copied bit for bit."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from applying import apply_plan
from cutting import tensors_in, write_removals
from tiny_models import FAMILIES, random_ids
from uneven_models import save_uneven, uneven_cut

from globalprune.models.loading import load_model


@pytest.mark.parametrize("family", FAMILIES)
def test_empty_plan_is_the_identity(
    tiny: Callable[[str], Path], tmp_path: Path, family: str
) -> None:
    """Tensors, config and logits are those of the original, bit for bit."""
    before, out = tiny(family), tmp_path / "out"
    apply_plan(before, write_removals(tmp_path / "plan.yaml", {}), out)

    expected, found = tensors_in(before), tensors_in(out)
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    assert (out / "config.json").read_bytes() == (before / "config.json").read_bytes()
    with torch.no_grad():
        ids = random_ids(1, 6)
        assert torch.equal(load_model(out)(ids).logits, load_model(before)(ids).logits)


def test_empty_plan_keeps_an_uneven_model_whole(tmp_path: Path) -> None:
    """A model that was cut before comes through as it was, with its modeling file."""
    from tiny_models import tiny_model

    before, out = tmp_path / "before", tmp_path / "out"
    save_uneven(before, tiny_model("llama"), uneven_cut("llama"))
    result = apply_plan(before, write_removals(tmp_path / "plan.yaml", {}), out)

    assert result.uneven
    assert (out / "modeling_globalprune.py").is_file()
    assert (out / "config.json").read_bytes() == (before / "config.json").read_bytes()
    expected, found = tensors_in(before), tensors_in(out)
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_what_is_not_cut_is_copied_bit_for_bit(tiny: Callable[[str], Path], tmp_path: Path) -> None:
    """A cut in one sublayer leaves every other tensor's bits alone, bfloat16 ones too."""
    from safetensors.torch import save_file

    before, out = tmp_path / "before", tmp_path / "out"
    before.mkdir()
    (before / "config.json").write_bytes((tiny("qwen2") / "config.json").read_bytes())
    halved = {name: tensor.bfloat16() for name, tensor in tensors_in(tiny("qwen2")).items()}
    save_file(halved, before / "model.safetensors")
    apply_plan(before, write_removals(tmp_path / "plan.yaml", {1: {"mlp": [3, 4]}}), out)

    found = tensors_in(out)
    touched = {name for name in halved if name.startswith("model.layers.1.mlp.")}
    assert len(touched) == 3
    assert all(tensor.dtype == torch.bfloat16 for tensor in found.values())
    assert all(torch.equal(found[name], halved[name]) for name in halved.keys() - touched)
