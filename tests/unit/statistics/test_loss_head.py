"""The model's own head, run on hidden states that were made before."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from applying import apply_plan
from compensating import running
from cutting import write_removals
from tiny_models import CONFIGS, MIXTURES, random_ids, tiny_model

from globalprune.errors import UnsupportedArchitecture
from globalprune.models.loading import load_model
from globalprune.statistics.loss import head_of, hidden_states, widened_head

IDS = random_ids(1, 9)
Tiny = Callable[[str], Path]


@pytest.mark.parametrize("family", CONFIGS | MIXTURES)
def test_every_family_makes_its_own_logits(family: str) -> None:
    """Scaled or capped as the class does it, a few rows at a time, and the model is as before."""
    model: Any = tiny_model(family)
    before = {name: id(module.forward.__func__) for name, module in model.named_modules()}
    with torch.no_grad():
        head = head_of(model, IDS[0])
        rows = hidden_states(model, IDS)[0]
        found = torch.cat([head.logits(rows[:4]), head.logits(rows[4:])])
        torch.testing.assert_close(found, model(IDS).logits[0], rtol=0, atol=1e-6)
    assert head.vocabulary == 260
    assert {n: id(m.forward.__func__) for n, m in model.named_modules()} == before
    assert not any("forward" in vars(module) for module in model.modules())


def test_a_plain_head_is_its_matrix_to_the_bit() -> None:
    """Where nothing stands behind it, importances are the bits that they were."""
    model: Any = tiny_model("llama")
    rows = torch.randn(7, 32, generator=torch.Generator().manual_seed(1))
    assert torch.equal(head_of(model, IDS[0]).logits(rows), model.lm_head(rows))


@pytest.mark.parametrize("family", ["granite", "gemma2", "qwen3_moe"])
def test_uneven_models_have_one_too(tiny: Tiny, family: str, tmp_path: Path) -> None:
    """Classes of the package's own are their families' in this."""
    plan = write_removals(tmp_path / "plan.yaml", {1: {"attention": [0]}, 2: {"mlp": [0, 1]}})
    out = apply_plan(tiny(family), plan, tmp_path / "out").out
    model = load_model(out, dtype=torch.float32)
    with torch.no_grad():
        found = head_of(model, IDS[0]).logits(hidden_states(model, IDS)[0])
        torch.testing.assert_close(found, model(IDS).logits[0], rtol=0, atol=1e-6)


def test_a_head_that_needs_more_than_hidden_states_is_refused() -> None:
    """A class whose logits hang on the ids themselves can't be taken apart there."""
    model: Any = tiny_model("llama")
    own = model.forward

    def forward(input_ids: Any = None, **kwargs: Any) -> Any:
        output = own(input_ids=input_ids, **kwargs)
        if input_ids is not None:
            output.logits = output.logits + 0.01 * input_ids[..., None]
        return output

    model.forward = forward
    with pytest.raises(UnsupportedArchitecture, match="LlamaForCausalLM: its logits are not what"):
        head_of(model, IDS[0])


def test_wider_while_it_is_asked_for(tiny: Tiny) -> None:
    """A tied head too; afterwards it is the tensor that it was."""
    model = running(tiny("qwen2"), torch.float16).module
    weight = model.lm_head.weight.data
    rows = hidden_states(model, IDS)[0].detach()
    head = head_of(model, IDS[0])
    with widened_head(model):
        assert head.logits(rows.float()).dtype == torch.float32
    assert model.lm_head.weight.data.data_ptr() == weight.data_ptr()
    assert model.lm_head.weight is model.model.embed_tokens.weight
