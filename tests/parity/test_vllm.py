"""The real vLLM goes on with the tokens that transformers does, in every family."""

from pathlib import Path
from typing import Any

import pytest
from tiny_models import FAMILIES, tiny_config, tiny_model
from uneven_models import Cut, save_uneven, uneven_cut
from vllm_runtime import Answer, Question, ask_vllm, furthest_from_transformers

pytestmark = pytest.mark.runtimes
ROUNDING = 1e-4  # of float32, in another order of sums
PROMPTS = ("a text of words", "def f(x):\n    return")
LAYERS = range(4)
ODD_CUTS: dict[str, Cut] = {
    "no attention anywhere": {layer: {"attention": ()} for layer in LAYERS},
    "no MLP anywhere": {layer: {"mlp": ()} for layer in LAYERS},
    "nothing at all": {layer: {"attention": (), "mlp": ()} for layer in LAYERS},
}
PLAIN = {  # the class that runs a plain checkpoint of each family
    "llama": "LlamaForCausalLM",
    "mistral": "MistralForCausalLM",
    "qwen3": "Qwen3ForCausalLM",
    "smollm3": "TransformersForCausalLM",
    "granite": "GraniteForCausalLM",
    "gemma2": "Gemma2ForCausalLM",
    "gemma3": "Gemma3ForCausalLM",
}
Asked = dict[str, tuple[Question, Answer]]


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Asked:
    """Every folder's question and answer, from one process."""
    work = tmp_path_factory.mktemp("vllm")
    questions = {family: _cut(work / family, family, uneven_cut(family)) for family in FAMILIES}
    questions |= {name: _cut(work / name, "llama_tied_bias", cut) for name, cut in ODD_CUTS.items()}
    questions |= {f"plain {name}": _cut(work / f"p_{name}", name, _alike(name)) for name in PLAIN}
    narrow = {"hidden_size": 128, "num_attention_heads": 4, "num_key_value_heads": 4}
    cut = {layer: {"attention": (layer % 3, 3)} for layer in LAYERS}
    for implementation in ("auto", "transformers"):
        questions[f"narrow qwen2, {implementation}"] = _cut(
            work / "narrow", "qwen2", cut, implementation, **narrow
        )
    answers = ask_vllm(list(questions.values()), work)
    return {name: (questions[name], said) for name, said in zip(questions, answers, strict=True)}


@pytest.mark.parametrize("name", [*FAMILIES, *ODD_CUTS])
def test_layers_that_differ(asked: Asked, name: str) -> None:
    """No attention first, odd widths, no MLP; output biases stay where they were."""
    question, said = asked[name]

    assert furthest_from_transformers(question, said) < ROUNDING
    assert (question.trust, said.model_class) == (True, "TransformersForCausalLM")


@pytest.mark.parametrize(("family", "model_class"), PLAIN.items())
def test_layers_that_are_alike(asked: Asked, family: str, model_class: str) -> None:
    """A plain checkpoint needs no code of ours, and runs in vLLM's own class if there is one."""
    question, said = asked[f"plain {family}"]

    assert furthest_from_transformers(question, said) < ROUNDING
    assert (question.trust, said.model_class) == (False, model_class)


def test_a_plain_qwen2_of_fewer_heads_runs_as_transformers_model(asked: Asked) -> None:
    """The Qwen2 of vLLM itself takes a head to be hidden size / heads, whatever the config says."""
    assert asked["narrow qwen2, auto"][1].error
    assert furthest_from_transformers(*asked["narrow qwen2, transformers"]) < ROUNDING


def _cut(
    folder: Path, family: str, cut: Cut, implementation: str = "auto", **shape: Any
) -> Question:
    """Save a cut of a random model; vLLM's attention starts at 32, its own Gemmas share a head."""
    tied = {"tie_word_embeddings": True} if family.startswith("gemma") else {}
    edit = save_uneven(folder, tiny_model(family, **{"head_dim": 32, **tied, **shape}), cut)
    return Question(str(folder), PROMPTS, 8, edit.uneven, implementation)


def _alike(family: str) -> Cut:
    """The same widths everywhere, of other groups in every layer."""
    last: int = tiny_config(family).num_key_value_heads - 1
    return {
        layer: {"attention": (layer % 2, last), "mlp": range(layer, layer + 17)} for layer in LAYERS
    }
