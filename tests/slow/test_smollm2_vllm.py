"""The real SmolLM2, whole and cut, in the real vLLM: `make test-runtimes`."""

from pathlib import Path
from typing import NamedTuple

import pytest
from applying import prepared_cut
from smollm2_cut import PLAN, PROMPTS, cut_by
from vllm_runtime import CACHE, Answer, Question, ask_vllm, furthest_from_transformers

from globalprune.artifacts.plans.budgets import requirements_of
from globalprune.artifacts.plans.plan import Budgets
from globalprune.artifacts.plans.runtime_compatibility import cached_though_empty
from globalprune.artifacts.structure import GROUP_TYPES

pytestmark = pytest.mark.runtimes
ROUNDING = 1e-3  # of float32, behind 29 layers; transformers itself is 2e-4 from float64
BLOCK = 128  # tokens that vLLM gives to a request at a time
# the same widths everywhere, of other groups in every layer: a plain checkpoint
UNIFORM = "format: globalprune.plan/1\nlayers:\n" + "".join(
    f'  {layer}: {{attention: "{layer % 3}", mlp: "{layer}-{layer + 35}"}}\n' for layer in range(30)
)


class Asked(NamedTuple):
    """A folder's question, and the answer."""

    question: Question
    answer: Answer


@pytest.fixture(scope="module")
def asked(smollm2: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Asked]:
    """The whole model, the one with every unevenness, and one with equal layers."""
    work = tmp_path_factory.mktemp("vllm")
    folders = {
        "whole": smollm2,
        "cut": cut_by(PLAN, smollm2, work / "uneven"),
        "alike": cut_by(UNIFORM, smollm2, work / "uniform"),
    }
    questions = [Question(str(folders[n]), PROMPTS, 16, trust=n == "cut") for n in folders]
    return dict(zip(folders, map(Asked, questions, ask_vllm(questions, work)), strict=True))


@pytest.mark.parametrize("name", ["whole", "cut", "alike"])
def test_says_the_same(asked: dict[str, Asked], name: str) -> None:
    """Sixteen tokens behind three prompts, and how sure it is of each."""
    assert furthest_from_transformers(*asked[name]) < ROUNDING


def test_equal_layers_need_no_code_of_ours(asked: dict[str, Asked]) -> None:
    """They run in vLLM's own Llama; layers that differ in transformers' model, built by us."""
    classes = {name: one.answer.model_class for name, one in asked.items()}

    assert classes == {
        "whole": "LlamaForCausalLM",
        "cut": "TransformersForCausalLM",
        "alike": "LlamaForCausalLM",
    }


def test_the_kv_cache_holds_as_many_tokens_more_as_the_plan_promises(
    asked: dict[str, Asked], smollm2: Path
) -> None:
    """To the block, but for the head that vLLM keeps for each of two layers without attention."""
    found = {name: one.answer.cached_tokens for name, one in asked.items()}
    for name in ("cut", "alike"):
        size = _bytes_per_token(smollm2, asked[name])
        assert found[name] == CACHE // (BLOCK * size) * BLOCK

    assert found["whole"] < found["cut"] < found["alike"]


def _bytes_per_token(model: Path, one: Asked) -> int:
    """What the folder's plan leaves of the KV cache, as budgets count it, and what notes add."""
    done = prepared_cut(model, Path(one.question.folder).parent / "plan.yaml")
    (need,) = requirements_of(Budgets(kv_cache=0, dtype="float32"), done.structure)
    costs: list[int] = need.cost[:, GROUP_TYPES.index("attention")].tolist()
    saved = sum(
        (layer.attention.groups - len(effect.attention)) * cost
        for layer, effect, cost in zip(
            done.structure.layers, done.effect.layers, costs, strict=True
        )
    )
    spare = sum(costs[layer] for layer in cached_though_empty(done.effect))
    return need.before - saved + spare
