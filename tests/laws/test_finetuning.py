"""Laws of finetuning: how steps are divided, or stopped and resumed, changes nothing."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from cutting import tensors_in
from text_files import write_lines
from tiny_finetunings import cut_unevenly, finetuned, losses, small, stopping
from torch.nn import functional

from globalprune.artifacts.results.finetuning import (
    DistillationSettings,
    FinetuneSettings,
    LoraSettings,
)
from globalprune.models.loading import load_model

Tiny = Callable[[str], Path]
TAUGHT = DistillationSettings(weight=0.5, top_k=8, temperature=2.0)


def largest_difference(one: Mapping[str, torch.Tensor], other: Mapping[str, torch.Tensor]) -> float:
    """The largest of any value; both must hold the same tensors."""
    assert one.keys() == other.keys()
    return max(float((one[name] - other[name]).abs().max()) for name in one)


@pytest.mark.parametrize("teacher", [False, True], ids=["text alone", "teacher"])
def test_accumulated_batches_are_one_batch(tiny: Tiny, tmp_path: Path, teacher: bool) -> None:
    """2 windows × 2 batches are the step that 4 × 1 are, up to rounding."""
    base = tiny("qwen2")
    options: dict[str, Any] = {"teacher": str(tiny("qwen2"))} if teacher else {}
    recipe = small(distillation=TAUGHT if teacher else None, learning_rate=1e-3)
    for batch, accumulate in ((4, 1), (2, 2)):
        settings = recipe.model_copy(update={"batch_size": batch, "accumulate": accumulate})
        finetuned(base, tmp_path / str(batch), settings, **options)
    one, other = tensors_in(tmp_path / "4"), tensors_in(tmp_path / "2")
    assert largest_difference(one, tensors_in(base)) > 1e-3
    assert largest_difference(one, other) < 1e-5
    assert losses(tmp_path / "4") == pytest.approx(losses(tmp_path / "2"), rel=1e-5)


def test_rows_of_several_lengths_are_weighed_by_token(tiny: Tiny, tmp_path: Path) -> None:
    """They run one by one, and one step is the mean over all of their tokens."""
    rows = [[5, 6, 7], list(range(40, 60)), [9] * 7, list(range(90, 101))]
    data = write_lines(tmp_path / "rows.jsonl", [{"input_ids": row} for row in rows])
    settings = small(samples=4, batch_size=4, lora=None)
    run = finetuned(tiny("llama"), tmp_path / "out", settings, data=[str(data)])
    model: Any = load_model(tiny("llama"))
    with torch.no_grad():
        per_token = [
            functional.cross_entropy(
                model(torch.tensor([row])).logits[0, :-1], torch.tensor(row[1:]), reduction="none"
            )
            for row in rows
        ]
    assert run.steps == 1
    assert run.learned_tokens == sum(len(row) - 1 for row in rows)
    assert losses(tmp_path / "out") == pytest.approx([float(torch.cat(per_token).mean())], rel=1e-5)


STOPPED = {
    "lora": small(lora=LoraSettings(r=4, alpha=8, dropout=0.3), samples=40),
    "full": small(lora=None, samples=44, epochs=2),
    "teacher": small(lora=None, samples=40, distillation=TAUGHT),
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "before", "resumed_at"),
    [("lora", 6, 5), ("full", 16, 15), ("teacher", 10, 9)],
    ids=["LoRA with dropout", "all weights, between checkpoints", "a teacher, at the last step"],
)
def test_a_resumed_run_ends_as_if_it_had_not_been_stopped(
    tiny: Tiny, tmp_path: Path, kind: str, before: int, resumed_at: int
) -> None:
    """With the same weights, to the bit, and the same loss at every step."""
    settings: FinetuneSettings = STOPPED[kind]
    base = cut_unevenly(tiny("llama"), tmp_path, "llama")
    options: dict[str, Any] = {"teacher": str(tiny("llama"))} if settings.distillation else {}
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    finetuned(base, whole, settings, **options)
    with pytest.raises(KeyboardInterrupt):
        finetuned(base, stopped, settings, progress=stopping(before), **options)
    assert not stopped.exists()
    run = finetuned(base, stopped, settings, resume=True, **options)

    assert run.resumed_at == resumed_at
    assert run.steps == len(losses(stopped))
    assert largest_difference(tensors_in(whole), tensors_in(stopped)) == 0
    assert losses(stopped) == losses(whole)


def test_the_same_run_twice_is_the_same_model(tiny: Tiny, tmp_path: Path) -> None:
    """A seed decides windows, order, dropout and the adapters' first values."""
    recipe = small(lora=LoraSettings(r=4, alpha=8, dropout=0.3))
    for name, seed in (("one", 0), ("again", 0), ("other", 1)):
        finetuned(tiny("llama"), tmp_path / name, recipe.model_copy(update={"seed": seed}))
    one, again, other = (tensors_in(tmp_path / name) for name in ("one", "again", "other"))
    assert largest_difference(one, again) == 0
    assert largest_difference(one, other) > 1e-3


def test_recomputing_activations_changes_nothing(tiny: Tiny, tmp_path: Path) -> None:
    """It costs time and saves memory; the result is the same, of an uneven model too."""
    base = cut_unevenly(tiny("llama_tied_bias"), tmp_path, "llama_tied_bias")
    finetuned(base, tmp_path / "kept")
    finetuned(base, tmp_path / "recomputed", small(recompute=True))
    assert largest_difference(
        tensors_in(tmp_path / "kept"), tensors_in(tmp_path / "recomputed")
    ) < (1e-5)
