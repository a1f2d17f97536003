"""Adapters go on every linear module of the layers, and on nothing else."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_finetunings import IDS, cut_unevenly
from tiny_models import FAMILIES, tiny_model
from torch import nn
from torch.nn import functional

from globalprune.artifacts.results.finetuning import DistillationSettings, LoraSettings
from globalprune.errors import UsageError
from globalprune.finetuning import lora_trainer
from globalprune.finetuning.lora_trainer import add_adapters, distillation_sum
from globalprune.models.loading import load_model

LINEARS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


def adapted(model: Any, **changes: Any) -> Any:
    """The model with adapters."""
    return add_adapters(model, LoraSettings(**({"r": 2, "alpha": 6, "dropout": 0.1} | changes)))


def places(model: Any) -> set[str]:
    """The modules that have an adapter, by their name in the plain model."""
    names = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    assert all(".lora_A." in name or ".lora_B." in name for name in names)
    return {
        re.sub(r"^base_model\.model\.|\.lora_[AB]\.default\.weight$", "", name) for name in names
    }


@pytest.mark.parametrize("family", FAMILIES)
def test_every_linear_module_of_the_layers_gets_one(family: str) -> None:
    """Neither the head nor the embedding does, and nothing but adapters is trained."""
    plain = tiny_model(family)
    linears = {name for name, part in plain.named_modules() if isinstance(part, nn.Linear)}
    found = places(adapted(tiny_model(family)))
    assert found == linears - {"lm_head"}
    assert len(found) == 4 * (4 if family == "phi3" else len(LINEARS))


def test_their_rank_scale_and_dropout_are_those_asked() -> None:
    """A is [r, in] and B [out, r]; what they add is scaled by alpha / r."""
    layer = adapted(tiny_model("llama")).get_submodule(
        "base_model.model.model.layers.1.mlp.up_proj"
    )
    assert layer.lora_A["default"].weight.shape == (2, 32)
    assert layer.lora_B["default"].weight.shape == (24, 2)
    assert layer.scaling["default"] == 3
    assert layer.lora_dropout["default"].p == 0.1


def test_they_begin_by_changing_nothing() -> None:
    """Training starts from the model that was cut."""
    with torch.no_grad():
        expected = tiny_model("qwen3")(IDS).logits
        found = adapted(tiny_model("qwen3")).eval()(IDS).logits
    torch.testing.assert_close(found, expected, rtol=0, atol=0)


def test_named_targets_alone_get_one() -> None:
    """In every layer."""
    found = places(adapted(tiny_model("llama"), targets=("v_proj", "down_proj")))
    assert found == {
        f"model.layers.{layer}.{name}"
        for layer in range(4)
        for name in ("self_attn.v_proj", "mlp.down_proj")
    }


@pytest.mark.parametrize("name", ["query", "lm_head", "proj"])
def test_an_unknown_target_is_refused_with_those_there_are(name: str) -> None:
    """By itself, peft would take a part of a name for one, or the head."""
    there = ", ".join(sorted(LINEARS))
    with pytest.raises(
        UsageError, match=rf"^--lora-targets {name}: .* have no such linear .*; they have {there}\."
    ):
        adapted(tiny_model("llama"), targets=("q_proj", name))


def test_an_emptied_sublayer_gets_none_though_its_output_bias_is_left(
    tiny: Callable[[str], Path], tmp_path: Path
) -> None:
    """It has no input that an adapter could look at; the other sublayers get theirs."""
    cut = cut_unevenly(tiny("llama_tied_bias"), tmp_path, "llama_tied_bias")
    model = load_model(cut)
    assert {"model.layers.0.self_attn.o_proj", "model.layers.3.mlp.down_proj"} <= {
        name for name, _ in model.named_modules()
    }
    found = places(adapted(model))
    attention = {f"model.layers.{i}.self_attn.{name}" for i in (1, 2, 3) for name in LINEARS[:4]}
    mlp = {f"model.layers.{i}.mlp.{name}" for i in (0, 1, 2) for name in LINEARS[4:]}
    assert found == attention | mlp


VOCABULARY = 11
ALL = torch.ones(2, 5, dtype=torch.bool)


def drawn(seed: int, scale: float = 2.0) -> torch.Tensor:
    """Logits `[2, 5, V]`."""
    generator = torch.Generator().manual_seed(seed)
    return scale * torch.randn(2, 5, VOCABULARY, generator=generator)


def asked(top_k: int = VOCABULARY, temperature: float = 1.0) -> DistillationSettings:
    """Settings of which only these two matter here."""
    return DistillationSettings(top_k=top_k, temperature=temperature)


def exact(student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    """KL(teacher ‖ student) over the whole vocabulary, in float64."""
    q, p = (logits.double().log_softmax(-1) for logits in (student, teacher))
    return functional.kl_div(q, p, log_target=True, reduction="sum").float()


@pytest.mark.parametrize("top_k", [VOCABULARY, 10_000], ids=["all tokens", "more than there are"])
@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_over_the_whole_vocabulary_it_is_the_exact_divergence(
    top_k: int, temperature: float
) -> None:
    """And T² of it, so that gradients keep their size whatever the temperature."""
    student, teacher = drawn(0), drawn(1)
    found = distillation_sum(student, teacher, ALL, asked(top_k, temperature))
    expected = temperature**2 * exact(student / temperature, teacher / temperature)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_of_top_k_the_rest_counts_as_one_token() -> None:
    """No mass is lost: the divergence is that of the distributions with the rest summed up."""
    student, teacher = drawn(0), drawn(1)
    found = distillation_sum(student, teacher, ALL, asked(top_k=3))
    q, p = student.softmax(-1), teacher.softmax(-1)
    tokens = p.topk(3, dim=-1).indices
    pooled = [
        torch.cat([some := share.gather(-1, tokens), 1 - some.sum(-1, keepdim=True)], dim=-1)
        for share in (q, p)
    ]
    expected = functional.kl_div(pooled[0].log(), pooled[1], reduction="sum")
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    assert found < exact(student, teacher)


@pytest.mark.parametrize("top_k", [1, 4, VOCABULARY])
def test_a_student_that_equals_its_teacher_learns_nothing(top_k: int) -> None:
    """The sum is 0 there, and so is its gradient."""
    teacher = drawn(0)
    student = teacher.clone().requires_grad_()
    found = distillation_sum(student, teacher, ALL, asked(top_k, temperature=2.0))
    found.backward()  # type: ignore[no-untyped-call]
    assert abs(found.item()) < 1e-5
    assert student.grad is not None
    assert student.grad.abs().max() < 1e-5


@settings(deadline=None, max_examples=100)
@given(
    seeds=st.tuples(st.integers(0, 10_000), st.integers(0, 10_000)),
    scales=st.tuples(st.floats(0.01, 60), st.floats(0.01, 60)),
    top_k=st.integers(1, VOCABULARY + 2),
    temperature=st.floats(0.25, 8),
)
def test_it_is_never_negative_and_always_finite(
    seeds: tuple[int, int], scales: tuple[float, float], top_k: int, temperature: float
) -> None:
    """However sure either of them is, and however many tokens are compared."""
    student = drawn(seeds[0], scales[0]).requires_grad_()
    teacher = drawn(seeds[1], scales[1])
    found = distillation_sum(student, teacher, ALL, asked(top_k, temperature))
    found.backward()  # type: ignore[no-untyped-call]
    assert found.item() >= -1e-4
    assert student.grad is not None
    assert torch.isfinite(found)
    assert torch.isfinite(student.grad).all()


def test_following_its_gradient_leads_to_the_teacher() -> None:
    """A student that only sees the top tokens still comes to agree on them, and on the rest."""
    teacher = drawn(1)
    student = drawn(0).requires_grad_()
    optimiser = torch.optim.Adam([student], lr=0.1)
    for _ in range(300):
        optimiser.zero_grad()
        distillation_sum(student, teacher, ALL, asked(top_k=4)).backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    tokens = teacher.topk(4, dim=-1).indices
    p, q = (logits.softmax(-1).gather(-1, tokens) for logits in (teacher, student.detach()))
    torch.testing.assert_close(q, p, rtol=0, atol=1e-3)


def test_only_learned_positions_count() -> None:
    """What stands elsewhere changes neither the sum nor any gradient there."""
    learned = ALL.clone()
    learned[0, :3] = learned[1, 4] = False
    student, teacher = drawn(0), drawn(1)
    found = distillation_sum(student, teacher, learned, asked())
    torch.testing.assert_close(found, exact(student[learned], teacher[learned]))
    elsewhere = student.clone()
    elsewhere[~learned] += drawn(2)[~learned]
    elsewhere.requires_grad_()
    again = distillation_sum(elsewhere, teacher, learned, asked())
    again.backward()  # type: ignore[no-untyped-call]
    assert again.item() == found.item()
    assert elsewhere.grad is not None
    assert not elsewhere.grad[~learned].any()


def test_without_a_learned_position_it_is_0() -> None:
    """A window of questions alone teaches nothing, and is no error."""
    student = drawn(0).requires_grad_()
    found = distillation_sum(student, drawn(1), ~ALL, asked())
    assert found.item() == 0


@pytest.mark.parametrize("rows", [1, 3, 4])
def test_how_many_positions_are_compared_at_once_changes_nothing(
    monkeypatch: pytest.MonkeyPatch, rows: int
) -> None:
    """Chunks bound the memory; the last one may be shorter."""
    student, teacher = drawn(0), drawn(1)
    whole = distillation_sum(student, teacher, ALL, asked(top_k=4))
    monkeypatch.setattr(lora_trainer, "DISTILLATION_CHUNK", rows * VOCABULARY)
    torch.testing.assert_close(distillation_sum(student, teacher, ALL, asked(top_k=4)), whole)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_compared_in_float32(dtype: torch.dtype) -> None:
    """Logits of half a precision lose nothing more on the way."""
    student, teacher = drawn(0).to(dtype), drawn(1).to(dtype)
    found = distillation_sum(student, teacher, ALL, asked())
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, exact(student, teacher), rtol=1e-5, atol=1e-5)
