"""What the walk leaves in the files: no ghosts of emptied sublayers, layers from 0 on."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from applying import ALL_CHANNELS, ALL_GROUPS, applied
from cutting import Removals, tensors_in, what_stays
from tiny_models import random_ids, save_tiny, tiny_model
from uneven_models import masked

from globalprune.models.loading import load_model

Tiny = Callable[[str], Path]
TOKENS = 14


def config_of(folder: Path | str) -> dict[str, Any]:
    """The config.json of a folder."""
    config: dict[str, Any] = json.loads((Path(folder) / "config.json").read_text())
    return config


def greedy(model: Any, **options: Any) -> torch.Tensor:
    """What a model says after a prompt, always its likeliest token."""
    generated: torch.Tensor = model.generate(
        random_ids(2, 5),
        max_new_tokens=TOKENS,
        do_sample=False,
        eos_token_id=None,
        pad_token_id=0,
        **options,
    )
    return generated


@pytest.mark.parametrize("kind", ["attention", "mlp"])
@pytest.mark.parametrize("family", ["llama", "llama_tied_bias"])
def test_an_emptied_sublayer_is_not_in_the_file(
    tiny: Tiny, tmp_path: Path, family: str, kind: str
) -> None:
    """Of its tensors only an output bias is stored, and the counted parameters are those stored."""
    everything = {"attention": ALL_GROUPS[family], "mlp": ALL_CHANNELS}
    result = applied(tiny(family), tmp_path, {2: {kind: everything[kind]}})  # type: ignore[dict-item]
    sublayer = f"model.layers.2.{'self_attn' if kind == 'attention' else 'mlp'}."
    stored = tensors_in(Path(result.out))
    left = {name.removeprefix(sublayer) for name in stored if name.startswith(sublayer)}
    bias = {"attention": "o_proj.bias", "mlp": "down_proj.bias"}[kind]
    assert left == ({bias} if family == "llama_tied_bias" else set())
    assert sum(tensor.numel() for tensor in stored.values()) == result.parameters_after


WHOLE: Any = {"attention": [0, 1, 2, 3], "mlp": list(ALL_CHANNELS)}
DROPS: list[Any] = [
    pytest.param({0: WHOLE}, id="first, native"),
    pytest.param({1: WHOLE}, id="second, native"),
    pytest.param({0: WHOLE, 1: {"attention": [0, 1, 2, 3]}, 3: {"mlp": [3]}}, id="first, uneven"),
    pytest.param({0: {"attention": [0, 1, 2, 3]}, 1: WHOLE, 2: WHOLE}, id="middle, uneven"),
]


@pytest.mark.parametrize("gone", DROPS)
def test_generation_outlives_a_dropped_layer(tiny: Tiny, tmp_path: Path, gone: Removals) -> None:
    """With its cache, the model says what the masked original says without one."""
    result = applied(tiny("llama"), tmp_path, gone)
    original = masked(tiny_model("llama"), what_stays("llama", gone))
    expected = greedy(original, use_cache=False)
    assert greedy(load_model(result.out), use_cache=True).equal(expected)
    assert expected.shape == (2, 5 + TOKENS)


@pytest.mark.parametrize("first", [0, 1], ids=["layer 0", "layer 1"])
def test_kinds_of_layers_move_with_their_layers(tmp_path: Path, first: int) -> None:
    """A sliding layer stays one under its new number, where Qwen would guess by the number."""
    shape: dict[str, Any] = {
        "use_sliding_window": True,
        "sliding_window": 4,
        "max_window_layers": 2,
    }
    base = save_tiny(tmp_path / "base", "qwen2", **shape)
    kinds = tiny_model("qwen2", **shape).config.layer_types
    assert len(set(kinds)) == 2
    gone: Removals = {first: {"attention": ALL_GROUPS["qwen2"], "mlp": ALL_CHANNELS}}
    result = applied(base, tmp_path, gone)
    kept = [kind for index, kind in enumerate(kinds) if index != first]
    config = config_of(result.out)
    assert (config["num_hidden_layers"], config["layer_types"]) == (3, kept)
    original = masked(tiny_model("qwen2", **shape), what_stays("qwen2", gone))
    assert greedy(load_model(result.out)).equal(greedy(original, use_cache=False))


def test_layer_numbers_have_no_gaps(tiny: Tiny, tmp_path: Path) -> None:
    """Each tensor behind a dropped layer is its original's under the next lower number."""
    result = applied(tiny("llama"), tmp_path, {1: WHOLE})
    before, after = tensors_in(tiny("llama")), tensors_in(Path(result.out))
    for new, old in enumerate((0, 2, 3)):
        own = {name for name in after if name.startswith(f"model.layers.{new}.")}
        assert len(own) == 9
        for name in own:
            origin = name.replace(f"layers.{new}.", f"layers.{old}.")
            assert torch.equal(after[name], before[origin])


def test_a_head_size_that_no_config_states_is_kept(tmp_path: Path) -> None:
    """Old Llama configs leave it to hidden / heads, which fewer heads would change."""
    base = save_tiny(tmp_path / "base", "llama", head_dim=None, attention_bias=True)
    stated = config_of(base)
    assert stated.pop("head_dim", 4) == 32 // 8
    (base / "config.json").write_text(json.dumps(stated))
    gone: Removals = {layer: {"attention": [1, 2]} for layer in range(4)}
    result = applied(base, tmp_path, gone)
    config = config_of(result.out)
    assert not result.uneven
    assert (config["head_dim"], config["num_attention_heads"]) == (4, 4)
    shape: dict[str, Any] = {"head_dim": None, "attention_bias": True}
    original = masked(tiny_model("llama", **shape), what_stays("llama", gone))
    with torch.no_grad():
        ids = random_ids(2, 7)
        expected = original(ids).logits
        torch.testing.assert_close(load_model(result.out)(ids).logits, expected)
