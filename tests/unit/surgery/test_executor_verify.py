"""A written folder is compared with the plan's promise; every way to break it is told."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from applying import applied, prepared_cut
from cutting import Removals
from safetensors.torch import load_file, save_file

from globalprune.errors import VerificationFailed
from globalprune.surgery.executor import verify
from globalprune.surgery.steps import promised_tensors

Tiny = Callable[[str], Path]
Tensors = dict[str, torch.Tensor]
EVEN: Removals = {layer: {"mlp": [layer]} for layer in range(4)}  # 23 channels everywhere
UNEVEN: Removals = {0: {"attention": [0, 1, 2, 3]}, 1: {"mlp": [0, 7]}}
NORM, UP = "model.norm.weight", "model.layers.1.mlp.up_proj.weight"


def check(model: Path, folder: Path) -> None:
    """Verify `folder`/out against the plan beside it."""
    prepared = prepared_cut(model, folder / "plan.yaml")
    expected = promised_tensors(prepared.steps)
    most = prepared.files.bytes_after + 500  # json's spelling of what tests change
    verify(folder / "out", "the/result", expected, prepared.effect, prepared.adapter, most)


def edit_tensors(folder: Path, change: Callable[[Tensors], object]) -> None:
    """Change the stored tensors."""
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def edit_config(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change config.json."""
    path = folder / "config.json"
    config = json.loads(path.read_text())
    change(config)
    path.write_text(json.dumps(config))


@pytest.fixture
def cut(tiny: Tiny, tmp_path: Path) -> Callable[[Removals], Path]:
    """Give a folder of one's own with a plan, and what it made of the tiny Llama in out/."""

    def made(gone: Removals) -> Path:
        applied(tiny("llama"), tmp_path, gone)
        return tmp_path

    return made


@pytest.mark.parametrize("gone", [{}, EVEN, UNEVEN], ids=["whole", "native", "uneven"])
def test_what_the_plan_promised_passes(
    tiny: Tiny, cut: Callable[[Removals], Path], gone: Removals
) -> None:
    """Else every other test here would pass for nothing."""
    check(tiny("llama"), cut(gone))


WRONG_TENSORS: list[Any] = [
    pytest.param(
        lambda tensors: tensors.update({NORM: torch.ones(31)}),
        r"model\.norm\.weight: promised \[32\] F32, found \[31\] F32",
        id="shape outside the layers",
    ),
    pytest.param(
        lambda tensors: tensors.update({UP: tensors[UP][1:].contiguous()}),
        r"1\.mlp\.up_proj\.weight: promised \[23, 32\] F32, found \[22, 32\] F32",
        id="shape inside a layer",
    ),
    pytest.param(
        lambda tensors: tensors.pop(NORM),
        r"model\.norm\.weight: promised \[32\] F32, found nothing",
        id="missing outside the layers",
    ),
    pytest.param(
        lambda tensors: tensors.pop(UP),
        r"1\.mlp\.up_proj\.weight: promised \[23, 32\] F32, found nothing",
        id="missing inside a layer",
    ),
    pytest.param(
        lambda tensors: tensors.update({"model.ghost": torch.ones(1)}),
        r"model\.ghost: promised nothing, found \[1\] F32",
        id="one too many",
    ),
    pytest.param(
        lambda tensors: tensors.update({UP: tensors[UP].half()}),
        r"up_proj\.weight: promised \[23, 32\] F32, found \[23, 32\] F16",
        id="dtype",
    ),
]


@pytest.mark.parametrize(("change", "text"), WRONG_TENSORS)
def test_a_wrong_tensor_is_named(
    tiny: Tiny,
    cut: Callable[[Removals], Path],
    change: Callable[[Tensors], object],
    text: str,
) -> None:
    """The message opens with the result's own name and says what was promised and found."""
    folder = cut(EVEN)
    edit_tensors(folder / "out", change)
    with pytest.raises(VerificationFailed, match=rf"(?s)^the/result: .*nothing was kept.*{text}"):
        check(tiny("llama"), folder)


def of_layer(layer: str, **changes: Any) -> Callable[[dict[str, Any]], object]:
    """A change of what the config says of one layer."""
    return lambda config: config["per_layer_config"][layer].update(changes)


WRONG_CONFIGS: list[Any] = [
    pytest.param(EVEN, lambda config: config.update(intermediate_size=24), "24", id="width"),
    pytest.param(EVEN, lambda config: config.update(num_hidden_layers=3), "3", id="layers"),
    pytest.param(EVEN, lambda config: config.update(head_dim=16), "q_proj", id="head size"),
    pytest.param(EVEN, lambda config: config.update(mlp_bias=True), "bias", id="bias"),
    pytest.param(EVEN, lambda config: config.update(vocab_size=261), "embed_tokens", id="words"),
    pytest.param(
        EVEN,
        lambda config: config.update(layer_types=["full_attention"] * 5),
        "layer_types",
        id="layer kinds of the whole model",
    ),
    pytest.param(UNEVEN, of_layer("1", intermediate_size=21), "21", id="one layer's width"),
    pytest.param(UNEVEN, lambda config: config.pop("per_layer_config"), "q_proj", id="no widths"),
]


@pytest.mark.parametrize(("gone", "change", "text"), WRONG_CONFIGS)
def test_a_wrong_config_is_caught(
    tiny: Tiny,
    cut: Callable[[Removals], Path],
    gone: Removals,
    change: Callable[[dict[str, Any]], object],
    text: str,
) -> None:
    """The class that loads the folder would want other tensors than those in the file."""
    folder = cut(gone)
    edit_config(folder / "out", change)
    with pytest.raises(VerificationFailed, match=rf"(?s)nothing was kept.*{text}"):
        check(tiny("llama"), folder)


def test_a_promise_about_groups_is_checked_by_itself(
    tiny: Tiny, cut: Callable[[Removals], Path]
) -> None:
    """A result that is whole and well-formed, but of another plan, fails in every respect."""
    folder = cut(EVEN)
    plan = (folder / "plan.yaml").read_text()
    (folder / "plan.yaml").write_text(plan.replace('1: {mlp: "1"}', '1: {mlp: "1, 2"}'))
    with pytest.raises(VerificationFailed) as caught:
        check(tiny("llama"), folder)
    assert "layer 1, mlp: promised 22 groups, found 23" in str(caught.value)
    assert "parameters: promised 50,240, found 50,336 (of 50,720 before)" in str(caught.value)


def test_only_the_first_differences_are_listed(tiny: Tiny, cut: Callable[[Removals], Path]) -> None:
    """A wholly wrong folder doesn't fill the screen."""
    folder = cut({})
    shutil.copy(tiny("qwen3") / "model.safetensors", folder / "out" / "model.safetensors")
    with pytest.raises(VerificationFailed) as caught:
        check(tiny("llama"), folder)
    lines = str(caught.value).splitlines()
    assert len(lines) == 22
    assert lines[-1] == "  … and 6 more"
