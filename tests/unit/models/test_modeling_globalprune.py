"""The modeling file: a cut model is the masked original in all that one does with a model."""

import ast
import copy
import sys
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
from cut_pairs import IDS, Pair, cut_pair, generated, logits_of
from peft import LoraConfig, get_peft_model
from tiny_models import FAMILIES, random_ids, tiny_model
from transformers import AutoModelForCausalLM
from transformers.models.llama import modeling_llama
from uneven_models import ONLY_ATTENTION, save_uneven, uneven_cut

from globalprune.models import modeling_globalprune
from globalprune.models.loading import load_model

NO_SDPA = {"gemma2"}  # it caps the scores of attention, which sdpa can't
ROUNDING = {"gemma2": 5e-4}  # norms behind its halves enlarge what float32 leaves over
MODELING_FILE = Path(str(modeling_globalprune.__file__))


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Pair]:
    """Give copies of (the cut model, the masked original) of a family, loaded once."""
    made: dict[str, Pair] = {}

    def models(family: str) -> Pair:
        if family not in made:
            folder = tmp_path_factory.mktemp(family)
            made[family] = cut_pair(folder, family, uneven_cut(family))
        return copy.deepcopy(made[family])

    return models


def _left_padded() -> dict[str, torch.Tensor]:
    mask = torch.ones_like(IDS)
    mask[0, :5] = 0
    mask[2, :1] = 0
    return {"ids": torch.where(mask.bool(), IDS, 258), "attention_mask": mask}


class TestIsTheMaskedOriginal:
    """Whatever is cut away adds nothing; whatever stays is as it was."""

    @pytest.mark.parametrize(
        ("family", "attention"),
        [*product(FAMILIES, ["eager"]), *product(sorted({*FAMILIES} - NO_SDPA), ["sdpa"])],
    )
    def testlogits_of(self, pair: Callable[[str], Pair], family: str, attention: str) -> None:
        """Every family gives the masked original's logits, whichever attention computes them."""
        cut, original = pair(family)
        cut.set_attn_implementation(attention)

        torch.testing.assert_close(logits_of(cut), logits_of(original), rtol=0, atol=1e-4)

    @pytest.mark.parametrize("family", FAMILIES)
    def test_only_whole_halves(self, tmp_path: Path, family: str) -> None:
        """A model that lost nothing but whole attention, one KV head or more, is exact too."""
        cut, original = cut_pair(tmp_path, family, ONLY_ATTENTION)

        torch.testing.assert_close(logits_of(cut), logits_of(original), rtol=0, atol=1e-4)

    def test_output_biases_stay(self, pair: Callable[[str], Pair]) -> None:
        """An emptied half still adds its output bias, under the name that it always had."""
        cut, original = pair("llama_tied_bias")
        names = ("model.layers.0.self_attn.o_proj.bias", "model.layers.2.mlp.down_proj.bias")
        kept = {n: t for n, t in cut.state_dict().items() if "0.self_attn" in n or "2.mlp" in n}

        assert sorted(kept) == sorted(names)
        for name in names:
            torch.testing.assert_close(kept[name], original.state_dict()[name], rtol=0, atol=0)

    def test_the_base_model_alone(self, tmp_path: Path, pair: Callable[[str], Pair]) -> None:
        """`PrunedLlamaModel`, which AutoModel would pick, gives the same hidden states."""
        save_uneven(tmp_path, tiny_model("llama"), uneven_cut("llama"))
        base = modeling_globalprune.PrunedLlamaModel.from_pretrained(tmp_path).eval()
        _, original = pair("llama")

        with torch.no_grad():
            found = base(IDS).last_hidden_state
            expected = original.model(IDS).last_hidden_state

        torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)

    def test_sliding_window(self, tmp_path: Path) -> None:
        """A window shorter than the text works when the first layer has no attention."""
        window = {"sliding_window": 4}
        cut, original = cut_pair(tmp_path, "mistral", uneven_cut("mistral"), **window)
        ids = random_ids(2, 20)

        torch.testing.assert_close(logits_of(cut, ids), logits_of(original, ids), rtol=0, atol=1e-4)
        assert generated(cut, ids).equal(generated(original, ids))

    @pytest.mark.parametrize("family", ["qwen2", "qwen3"])
    def test_full_and_sliding_layers(self, tmp_path: Path, family: str) -> None:
        """Masks are right where the first full and the first sliding layer have no attention."""
        kinds = {"use_sliding_window": True, "sliding_window": 4, "max_window_layers": 2}
        cut, original = cut_pair(tmp_path, family, ONLY_ATTENTION, **kinds)
        ids = random_ids(2, 20)

        torch.testing.assert_close(logits_of(cut, ids), logits_of(original, ids), rtol=0, atol=1e-4)
        assert generated(cut, ids).equal(generated(original, ids))

    def test_half_precision(self, tmp_path: Path) -> None:
        """Every tensor, a lone output bias too, takes the dtype that was asked for."""
        save_uneven(tmp_path, tiny_model("llama_tied_bias"), uneven_cut("llama_tied_bias"))
        model = load_model(tmp_path, dtype=torch.bfloat16)

        assert {p.dtype for p in model.parameters()} == {torch.bfloat16}
        assert logits_of(model).dtype == torch.bfloat16


class TestGenerates:
    """Caches and masks take their length from the first layer, which here has no attention."""

    @pytest.mark.parametrize(
        "cache",
        [{}, {"use_cache": False}, {"cache_implementation": "static"}],
        ids=["dynamic", "none", "static"],
    )
    @pytest.mark.parametrize("family", FAMILIES)
    def test_any_cache(
        self, pair: Callable[[str], Pair], family: str, cache: dict[str, Any]
    ) -> None:
        """The tokens are the masked original's with a growing, a fixed and no cache."""
        cut, original = pair(family)

        assert generated(cut, IDS, **cache).equal(generated(original, IDS, use_cache=False))

    @pytest.mark.parametrize("family", FAMILIES)
    def test_left_padding(self, pair: Callable[[str], Pair], family: str) -> None:
        """A batch of texts of several lengths, padded on the left, continues as the original."""
        cut, original = pair(family)

        assert generated(cut, **_left_padded()).equal(generated(original, **_left_padded()))

    @pytest.mark.parametrize("attention", ["eager", "sdpa"])
    def test_continues_from_a_cache(self, pair: Callable[[str], Pair], attention: str) -> None:
        """Text fed in two parts through a cache gives the logits of the text fed at once."""
        cut, _ = pair("qwen3")
        cut.set_attn_implementation(attention)
        first = cut(IDS[:, :7], use_cache=True)
        rest = logits_of(cut, IDS[:, 7:], past_key_values=first.past_key_values)

        torch.testing.assert_close(rest, logits_of(cut)[:, 7:], rtol=0, atol=1e-4)

    @pytest.mark.parametrize("family", FAMILIES)
    def test_beam_search(self, pair: Callable[[str], Pair], family: str) -> None:
        """Beams, which reorder the cache, are the original's."""
        cut, original = pair(family)

        assert generated(cut, num_beams=3).equal(generated(original, num_beams=3))


@pytest.mark.filterwarnings("ignore:.(is_)?gradient_checkpointing(_enable)?. is deprecated")
class TestTrains:
    """A cut model is finetuned like any other."""

    @pytest.mark.parametrize("family", FAMILIES)
    def test_gradient_checkpointing(self, pair: Callable[[str], Pair], family: str) -> None:
        """Gradients with checkpointing are those without, and every parameter has one."""
        plain, _ = pair(family)
        saving, _ = pair(family)
        saving.gradient_checkpointing_enable()
        for model in (plain, saving):
            model.train()
            model(IDS, labels=IDS, use_cache=False).loss.backward()

        gradients = dict(saving.named_parameters())
        for name, parameter in plain.named_parameters():
            assert parameter.grad is not None, name
            torch.testing.assert_close(gradients[name].grad, parameter.grad, rtol=0, atol=1e-4)

    # the remnant of an emptied projection has no inputs, so its adapter has nothing to draw
    @pytest.mark.filterwarnings("ignore:Initializing zero-element tensors:UserWarning")
    @pytest.mark.parametrize("family", FAMILIES)
    def test_lora(self, pair: Callable[[str], Pair], family: str) -> None:
        """An adapter on all seven projections trains, and merges to the same logits."""
        halves = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
        adapter = LoraConfig(target_modules=list(halves), init_lora_weights=False, r=2)
        cut, _ = pair(family)
        before = logits_of(cut)
        adapted: Any = get_peft_model(cut, adapter)
        adapted.train()
        adapted(IDS, labels=IDS).loss.backward()
        trained = logits_of(adapted.eval())
        merged = adapted.merge_and_unload()

        assert not torch.allclose(trained, before)
        torch.testing.assert_close(
            logits_of(merged), trained, rtol=0, atol=ROUNDING.get(family, 1e-4)
        )

    def test_lora_by_default(self, pair: Callable[[str], Pair]) -> None:
        """PEFT knows the architecture, so an adapter needs no target_modules."""
        cut, _ = pair("llama")

        assert get_peft_model(cut, LoraConfig()).get_nb_trainable_parameters()[0] > 0


class TestLoadsAndSaves:
    """A folder holds all that is needed, and nothing else is ever made up."""

    @pytest.mark.parametrize("cut", ["uneven", "only attention"])
    @pytest.mark.parametrize("family", FAMILIES)
    def test_a_plain_load_fails(self, tmp_path: Path, family: str, cut: str) -> None:
        """Without the modeling file transformers refuses, rather than invent the blocks."""
        kept = uneven_cut(family) if cut == "uneven" else ONLY_ATTENTION
        save_uneven(tmp_path, tiny_model(family), kept)

        with pytest.raises(RuntimeError, match="is a per-layer attribute"):
            AutoModelForCausalLM.from_pretrained(tmp_path)

    @pytest.mark.parametrize("half", ["attention", "mlp"])
    def test_a_plain_load_fails_at_size_one(self, tmp_path: Path, half: str) -> None:
        """A gap's size differs from the model's even where that is the smallest there is."""
        smallest = {"num_attention_heads": 1, "num_key_value_heads": 1, "intermediate_size": 1}
        cut, original = cut_pair(tmp_path, "qwen3", {0: {half: ()}}, **smallest)

        torch.testing.assert_close(logits_of(cut), logits_of(original), rtol=0, atol=1e-4)
        with pytest.raises(RuntimeError, match="is a per-layer attribute"):
            AutoModelForCausalLM.from_pretrained(tmp_path)

    @pytest.mark.parametrize("family", FAMILIES)
    def test_saving_changes_nothing(
        self, tmp_path: Path, pair: Callable[[str], Pair], family: str
    ) -> None:
        """Saved and loaded again it is the same, with config and modeling file in the folder."""
        cut, _ = pair(family)
        cut.save_pretrained(tmp_path / "once")
        again = load_model(tmp_path / "once")
        again.save_pretrained(tmp_path / "twice")

        for name in ("config.json", "model.safetensors", MODELING_FILE.name):
            once, twice = (tmp_path / time / name for time in ("once", "twice"))
            assert once.read_bytes() == twice.read_bytes(), name
        assert MODELING_FILE.read_bytes() == (tmp_path / "once" / MODELING_FILE.name).read_bytes()
        assert logits_of(again).equal(logits_of(cut))

    def test_the_permission_is_not_saved(self, pair: Callable[[str], Pair]) -> None:
        """What lets our class read the uncut sizes would let a plain load read them too."""
        cut, _ = pair("llama")

        assert cut.config.allow_global_per_layer_attribute_access
        assert "allow_global_per_layer_attribute_access" not in cut.config.to_dict()
        assert "allow_global_per_layer_attribute_access" not in cut.config.to_diff_dict()

    def test_a_fresh_model_has_no_leftovers(self, pair: Callable[[str], Pair]) -> None:
        """Built from the config alone, its biases are zero and not what lay in memory."""
        cut, _ = pair("llama_tied_bias")
        fresh = type(cut)(cut.config)
        bias = fresh.get_parameter("model.layers.0.self_attn.o_proj.bias")

        assert not bias.any()

    def test_on_the_meta_device(self, pair: Callable[[str], Pair]) -> None:
        """It can be laid out without memory, with the very parameters that it has when loaded."""
        cut, _ = pair("llama_tied_bias")
        with torch.device("meta"):
            empty = type(cut)(cut.config)

        shapes = {name: p.shape for name, p in empty.named_parameters()}
        assert shapes == {name: p.shape for name, p in cut.named_parameters()}
        assert all(p.is_meta for p in empty.parameters())

    def test_it_is_the_native_class(self, pair: Callable[[str], Pair]) -> None:
        """Code that asks for the architecture's own class finds it."""
        cut, _ = pair("llama")

        assert isinstance(cut, modeling_llama.LlamaForCausalLM)
        assert cut.config.model_type == "llama"


class TestTouchesNothingElse:
    """The architecture's module is as it was, and the file stands alone."""

    @pytest.mark.parametrize("fails", [False, True])
    def test_the_native_layer_is_put_back(
        self, pair: Callable[[str], Pair], monkeypatch: pytest.MonkeyPatch, fails: bool
    ) -> None:
        """After a model is built, or fails to be, transformers builds its own layers again."""
        cut, _ = pair("llama")
        native = modeling_llama.LlamaDecoderLayer
        if fails:
            monkeypatch.setattr(modeling_llama, "LlamaMLP", None)
            with pytest.raises(TypeError):
                type(cut)(cut.config)
        else:
            type(cut)(cut.config)

        assert modeling_llama.LlamaDecoderLayer is native

    def test_attention_choice_reaches_the_layers(self, pair: Callable[[str], Pair]) -> None:
        """`set_attn_implementation` holds for the layers, which hold copies of the config."""
        cut, _ = pair("llama")
        cut.set_attn_implementation("sdpa")
        cut.set_attn_implementation("eager")
        own: list[Any] = [module.config for module in cut.modules() if hasattr(module, "config")]

        assert {config._attn_implementation for config in own} == {"eager"}

    def test_imports(self) -> None:
        """The file needs torch, transformers and Python, and never this package."""
        imported = set()
        for node in ast.walk(ast.parse(MODELING_FILE.read_text())):
            if isinstance(node, ast.Import):
                imported |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0
                imported.add(str(node.module).partition(".")[0])

        assert imported <= {"torch", "transformers", *sys.stdlib_module_names}

    @pytest.mark.parametrize("name", ["PrunedNothing", "LlamaForCausalLM", "__path__"])
    def test_unknown_names(self, name: str) -> None:
        """A name that transformers doesn't have behind `Pruned` is not there."""
        with pytest.raises(AttributeError, match=f"has no attribute '{name}'"):
            getattr(modeling_globalprune, name)
