"""Transformers' own doors to a cut model: pipeline, accelerate, torch.compile, plain loads."""

from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
from applying import applied
from cut_pairs import IDS, cut_pair, generated, logits_of
from cutting import Removals
from tiny_models import FAMILIES, tiny_model
from transformers import AutoModel, AutoModelForCausalLM, PreTrainedModel, pipeline
from uneven_models import ONLY_ATTENTION, Cut, save_uneven, uneven_cut

from globalprune.models.loading import load_model
from globalprune.models.modeling_globalprune import PREFIX
from globalprune.models.tokenizer import load_tokenizer

CUTS: dict[str, Cut] = {
    "whole attention": ONLY_ATTENTION,
    "every attention": {layer: {"attention": ()} for layer in range(4)},
    "a whole MLP": {2: {"mlp": ()}},
    "every MLP": {layer: {"mlp": ()} for layer in range(4)},
    "channels": {1: {"mlp": (0, 5)}},
    "groups": {1: {"attention": (0,)}},
}
Loads = Callable[[Path, type[PreTrainedModel]], Any]
PLAIN_LOADS: dict[str, Loads] = {
    "auto": lambda folder, _: AutoModelForCausalLM.from_pretrained(folder, trust_remote_code=False),
    "auto, sizes ignored": lambda folder, _: AutoModelForCausalLM.from_pretrained(
        folder, trust_remote_code=False, ignore_mismatched_sizes=True
    ),
    "auto, without a head": lambda folder, _: AutoModel.from_pretrained(folder),
    "its class": lambda folder, native: native.from_pretrained(folder),
    "its class, sizes ignored": lambda folder, native: native.from_pretrained(
        folder, ignore_mismatched_sizes=True
    ),
    "pipeline": lambda folder, _: pipeline("text-generation", model=str(folder)),
}


@pytest.fixture(autouse=True)
def _own_modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the copies that transformers makes of remote code out of the machine's cache."""
    from transformers import dynamic_module_utils

    monkeypatch.setattr(dynamic_module_utils, "HF_MODULES_CACHE", str(tmp_path / "modules"))


@pytest.fixture
def folder(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """A family cut in every way at once."""
    save_uneven(tmp_path / "cut", tiny_model(request.param), uneven_cut(request.param))
    return tmp_path / "cut"


every_family = pytest.mark.parametrize("folder", FAMILIES, indirect=True)


@every_family
def test_a_pipeline_writes_what_the_model_says(folder: Path) -> None:
    """By the folder's own code, tokenizer and all."""
    writes = pipeline("text-generation", model=str(folder), trust_remote_code=True)
    asked: dict[str, Any] = {"max_new_tokens": 6, "do_sample": False, "eos_token_id": None}
    [answer] = writes("one and two", return_full_text=False, **asked)
    tokenizer: Any = load_tokenizer(folder)
    ids = tokenizer("one and two", return_tensors="pt").input_ids

    assert type(writes.model).__name__.startswith(PREFIX)
    new = generated(load_model(folder), ids)[0, ids.shape[1] :]
    assert answer["generated_text"] == tokenizer.decode(new, skip_special_tokens=True)


@every_family
def test_accelerate_places_it(folder: Path) -> None:
    """`device_map="auto"`, where all fits."""
    placed = AutoModelForCausalLM.from_pretrained(
        folder, trust_remote_code=True, device_map="auto", dtype=torch.float32
    )

    assert logits_of(placed).equal(logits_of(load_model(folder)))


@every_family
def test_accelerate_offloads_it(folder: Path, tmp_path: Path) -> None:
    """Layers on the disk, those without attention or MLP among them, come when they are called."""
    whole = load_model(folder)
    parts = ["model.embed_tokens", "model.rotary_emb", "model.norm", "lm_head", "model.layers.1"]
    places = dict.fromkeys(parts, "cpu") | {f"model.layers.{layer}": "disk" for layer in (0, 2, 3)}
    offloaded = AutoModelForCausalLM.from_pretrained(
        folder,
        trust_remote_code=True,
        device_map=places,
        offload_folder=tmp_path / "disk",
        dtype=torch.float32,
    )

    assert offloaded.get_parameter("model.layers.3.mlp.down_proj.weight").is_meta
    assert logits_of(offloaded).equal(logits_of(whole))
    assert generated(offloaded).equal(generated(whole))


@pytest.mark.parametrize("folder", ["llama"], indirect=True)
def test_an_attention_that_is_not_installed_is_refused(folder: Path) -> None:
    """In the words of the uncut model, and the cut one goes on as it was."""
    cut, original = load_model(folder), tiny_model("llama")
    before = logits_of(cut)
    said = []
    for model in (cut, original):
        with pytest.raises(ImportError, match="FlashAttention2") as refusal:
            model.set_attn_implementation("flash_attention_2")
        said.append(str(refusal.value))

    assert said[0] == said[1]
    assert logits_of(cut).equal(before)


@pytest.mark.slow
@every_family
def test_it_compiles_as_one_graph(folder: Path) -> None:
    """torch.compile with `fullgraph`, under which any break of ours would be an error."""
    cut = load_model(folder)
    torch.compiler.reset()
    compiled: Any = torch.compile(cut, backend="eager", fullgraph=True)
    with torch.no_grad():
        found = compiled(IDS).logits

    torch.testing.assert_close(found, logits_of(cut), rtol=0, atol=1e-5)


@pytest.mark.parametrize("load", PLAIN_LOADS.values(), ids=PLAIN_LOADS)
@pytest.mark.parametrize(
    ("family", "name"),
    [
        *product(["llama", "gemma3"], CUTS),
        *product(
            ["llama_one_kv"], [name for name in CUTS if name != "groups"]
        ),  # which has but one
    ],
)
def test_no_plain_load_makes_up_a_block(
    tmp_path: Path, family: str, name: str, load: Loads
) -> None:
    """Whichever door, whatever was cut, and even if sizes that don't fit are to be ignored."""
    original = tiny_model(family)
    save_uneven(tmp_path / "cut", original, CUTS[name])

    # a pipeline wraps some errors in a ValueError of its own
    with pytest.raises((RuntimeError, ValueError), match="is a per-layer attribute"):
        load(tmp_path / "cut", type(original))


@pytest.mark.parametrize("family", FAMILIES)
def test_layers_alike_are_a_vanilla_checkpoint(
    tiny: Callable[[str], Path], tmp_path: Path, family: str
) -> None:
    """Nothing of ours but the card and the records: a plain load, whose logits are the cut's."""
    evenly: Removals = {layer: {"mlp": [layer, layer + 9]} for layer in range(4)}
    result = applied(tiny(family), tmp_path, evenly)
    out = Path(result.out)
    config = (out / "config.json").read_text("utf-8")
    kept: Cut = {
        layer: {"mlp": [c for c in range(24) if c not in (layer, layer + 9)]} for layer in range(4)
    }
    _, original = cut_pair(tmp_path / "by hand", family, kept)
    plain = AutoModelForCausalLM.from_pretrained(out, trust_remote_code=False, dtype=torch.float32)

    assert not result.uneven
    assert not any(word in config for word in ("auto_map", "per_layer_config", PREFIX, "prune"))
    assert {path.name for path in out.iterdir()} == {
        *(path.name for path in tiny(family).iterdir()), "README.md", "globalprune",
    }  # fmt: skip
    assert type(plain) is type(original)
    torch.testing.assert_close(logits_of(plain), logits_of(original), rtol=0, atol=1e-4)
