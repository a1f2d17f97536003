"""A LoRA adapter on its base, read as one checkpoint: what peft would merge, or a refusal."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from applying import applied
from cutting import tensors_in
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import save_file
from tiny_finetunings import logits
from tiny_models import random_ids, tiny_model

from globalprune.errors import CheckpointError, NonFiniteError
from globalprune.models.checkpoints.identity import weights_fingerprint
from globalprune.models.checkpoints.open import open_checkpoint
from globalprune.models.loading import load_model
from globalprune.models.quiet import quiet_peft
from globalprune.models.sources.source import resolve_model

Tiny = Callable[[str], Path]
WEIGHTS = "adapter_model.safetensors"
NAME = "base_model.model.model.layers.0.self_attn.q_proj.lora_{}.weight"


@pytest.fixture(scope="module")
def saved(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give an adapter that peft saved on a tiny model, every value drawn; not to be changed."""
    config = LoraConfig(
        r=3, lora_alpha=7, target_modules=["q_proj", "down_proj"], task_type="CAUSAL_LM"
    )
    with quiet_peft():
        model: Any = get_peft_model(tiny_model("llama"), config)
    torch.manual_seed(1)
    for name, parameter in model.named_parameters():
        if "lora_" in name:
            torch.nn.init.normal_(parameter, std=0.3)
    folder = tmp_path_factory.mktemp("adapter")
    model.save_pretrained(folder)
    edit(folder, base_model_name_or_path=str(tiny("llama")))
    return folder


@pytest.fixture
def adapter(saved: Path, tmp_path: Path) -> Path:
    """Give a copy of it that a test may damage."""
    return Path(shutil.copytree(saved, tmp_path / "adapter"))


def edit(folder: Path, **changes: Any) -> None:
    """Change keys of adapter_config.json."""
    path = folder / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def opened(folder: Path) -> Any:
    """The checkpoint of a folder."""
    return open_checkpoint(resolve_model(str(folder)))


def test_every_tensor_reads_as_peft_would_merge_it(tiny: Tiny, saved: Path, tmp_path: Path) -> None:
    """Applied with an empty plan, it becomes the model that peft makes of it."""
    merged = logits(saved)
    assert (merged - logits(tiny("llama"))).abs().max() > 0.1
    done = applied(saved, tmp_path, {})
    torch.testing.assert_close(logits(Path(done.out)), merged, rtol=0, atol=1e-4)


def test_only_adapted_tensors_differ_from_the_base(tiny: Tiny, saved: Path) -> None:
    """Names, shapes and count are the base's; so are all other values, and the files beside."""
    base, both = opened(tiny("llama")), opened(saved)
    assert (both.tensors, both.parameters, both.config) == (
        base.tensors,
        base.parameters,
        base.config,
    )
    assert both.auxiliary_folder == tiny("llama")
    changed = [name for name in base.tensors if not torch.equal(base.read(name), both.read(name))]
    assert len(changed) == 8
    assert all("q_proj" in name or "down_proj" in name for name in changed)


def test_the_fingerprint_is_not_the_bases(tiny: Tiny, saved: Path) -> None:
    """An analysis of one is none of the other."""
    assert weights_fingerprint(opened(saved)) != weights_fingerprint(opened(tiny("llama")))


def test_half_precision_is_rounded_once(tiny: Tiny, adapter: Path, tmp_path: Path) -> None:
    """The sum is made in float32, and has the base's dtype."""
    base = Path(shutil.copytree(tiny("llama"), tmp_path / "base"))
    tensors = {name: tensor.bfloat16() for name, tensor in tensors_in(base).items()}
    save_file(tensors, base / "model.safetensors", metadata={"format": "pt"})
    edit(adapter, base_model_name_or_path=str(base))
    factors = tensors_in(adapter)
    name = "model.layers.0.self_attn.q_proj.weight"
    exact = tensors[name].double() + 7 / 3 * (
        factors[NAME.format("B")].double() @ factors[NAME.format("A")].double()
    )
    torch.testing.assert_close(opened(adapter).read(name), exact.bfloat16(), rtol=0, atol=0)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"use_dora": True}, "use_dora"),
        ({"layer_replication": [[0, 2], [1, 3]]}, "layer_replication"),
        ({"use_qalora": True}, "use_qalora"),
        ({"target_parameters": ["experts.down_proj"]}, "target_parameters"),
        ({"init_lora_weights": "pissa"}, "init_lora_weights 'pissa'"),
        ({"a_key_of_tomorrow": {"x": 1}}, "a_key_of_tomorrow"),
        ({"rank_pattern": {"q_proj": 2}}, "rank_pattern"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save"),
        ({"bias": "all"}, "LORA, bias all"),
        ({"peft_type": "IA3"}, "IA3, bias none"),
    ],
    ids=[
        "DoRA",
        "replication",
        "QA-LoRA",
        "parameters",
        "PiSSA",
        "new",
        "ranks",
        "saved modules",
        "bias",
        "IA3",
    ],
)
def test_what_goes_beyond_plain_lora_is_refused(
    adapter: Path, changes: dict[str, Any], named: str
) -> None:
    """By its name, with the way out."""
    edit(adapter, **changes)
    with pytest.raises(
        CheckpointError, match=rf"is no plain LoRA adapter \({named}\); merge it with peft"
    ):
        opened(adapter)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"r": None}, "r is None, not the rank"),
        ({"r": 0}, "r is 0, not the rank"),
        ({"r": "3"}, "r is '3', not the rank"),
        ({"r": 4}, r"are \[3, 24\] and \[32, 3\], where adapter_config\.json says r 4"),
        ({"lora_alpha": "7"}, "lora_alpha is '7', not a number"),
        ({"lora_alpha": float("nan")}, "lora_alpha is nan, not a number"),
        ({"lora_alpha": 10**400}, "lora_alpha is 1000000000.*, not a number"),
        ({"r": 10**400, "use_rslora": True}, "r is 1000000000.*, not the rank"),
    ],
)
def test_figures_that_make_no_scale_are_refused(
    adapter: Path, changes: dict[str, Any], text: str
) -> None:
    """By them the product is multiplied and divided."""
    edit(adapter, **changes)
    with pytest.raises(CheckpointError, match=text):
        opened(adapter)


def test_factors_that_are_no_numbers_are_named(adapter: Path) -> None:
    """As weights that are none."""
    factors = tensors_in(adapter)
    factors[NAME.format("B")][1, 2] = torch.inf
    save_file(factors, adapter / WEIGHTS)
    with pytest.raises(
        NonFiniteError, match=r"q_proj\.lora_A|q_proj.*lora_.* holds inf at \[1, 2\]"
    ):
        opened(adapter)
    (adapter / WEIGHTS).rename(adapter / "adapter_model.bin")
    with pytest.raises(CheckpointError, match=r"factors in a pickle alone \(adapter_model\.bin\)"):
        opened(adapter)


def test_rslora_and_an_adapter_beside_weights_merge_as_in_peft(tiny: Tiny, adapter: Path) -> None:
    """The scale is alpha / √r; weights beside an adapter are its base, as in transformers."""
    edit(adapter, use_rslora=True)
    with quiet_peft():
        peft = PeftModel.from_pretrained(load_model(tiny("llama")), adapter)
        expected = peft.merge_and_unload()(random_ids(1, 12)).logits
    torch.testing.assert_close(load_model(adapter)(random_ids(1, 12)).logits, expected)
    for file in ("config.json", "model.safetensors"):
        shutil.copyfile(tiny("llama") / file, adapter / file)
    edit(adapter, base_model_name_or_path="nobody/knows-it")
    torch.testing.assert_close(load_model(adapter)(random_ids(1, 12)).logits, expected)


def test_an_adapter_of_another_model_is_refused(adapter: Path) -> None:
    """It names tensors that the base lacks, or is of another shape than the base's."""
    factors = tensors_in(adapter)
    moved = {name.replace("layers.3", "layers.9"): value for name, value in factors.items()}
    save_file(moved, adapter / WEIGHTS)
    with pytest.raises(
        CheckpointError,
        match=r"adapts tensors that .* doesn't have \(model\.layers\.9\..*another m",
    ):
        opened(adapter)


def test_an_adapter_of_a_wider_model_is_refused(adapter: Path) -> None:
    """As one of the model before the cut would be."""
    factors = tensors_in(adapter)
    factors[NAME.format("A")] = torch.ones(3, 40)
    save_file(factors, adapter / WEIGHTS)
    with pytest.raises(
        CheckpointError,
        match=r"adapts model\.layers\.0\.self_attn\.q_proj\.weight as \[64, 40\], and .* has "
        r"\[64, 32\]; the adapter belongs to another model",
    ):
        opened(adapter)


@pytest.mark.parametrize(
    ("lost", "more"),
    [(NAME.format("B"), None), (None, "base_model.model.model.embed_tokens.lora_embedding_A")],
    ids=["half a pair", "an embedding"],
)
def test_more_or_less_than_pairs_of_factors_is_refused(
    adapter: Path, lost: str | None, more: str | None
) -> None:
    """What is passed over would be lost without a word."""
    factors = {name: value for name, value in tensors_in(adapter).items() if name != lost}
    save_file(factors | ({more: torch.ones(3, 4)} if more else {}), adapter / WEIGHTS)
    with pytest.raises(
        CheckpointError, match=r"no plain LoRA adapter, which is a pair .*\(base_mo"
    ):
        opened(adapter)


def test_loading_refuses_what_opening_refuses(adapter: Path) -> None:
    """By itself, peft would merge the part that fits, and leave the rest of the model as it was."""
    factors = tensors_in(adapter)
    save_file(
        {name.replace("layers.3", "layers.9"): v for name, v in factors.items()}, adapter / WEIGHTS
    )
    with pytest.raises(CheckpointError, match=r"adapts tensors that .* doesn't have"):
        load_model(adapter)


def test_weights_that_cannot_be_read_are_refused(adapter: Path) -> None:
    """A broken download is noticed when it is opened."""
    path = adapter / WEIGHTS
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(CheckpointError, match=r"adapter_model\.safetensors: can't be read \(.*\);"):
        opened(adapter)
    path.unlink()
    with pytest.raises(CheckpointError, match=r"adapter_model\.safetensors: can't be read \(.*\);"):
        opened(adapter)
