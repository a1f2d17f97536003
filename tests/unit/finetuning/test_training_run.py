"""The loss that is trained on, and how a run is divided into steps and checkpoints."""

import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from text_files import write_lines
from tiny_finetunings import finetuned, losses, small
from tiny_models import random_ids, save_tiny
from torch.nn import functional

from globalprune.artifacts.results.finetuning import DistillationSettings
from globalprune.finetuning.inputs import TrainingWindows
from globalprune.finetuning.training_run import last_checkpoint, step_of, training_arguments
from globalprune.models.loading import load_model
from globalprune.progress import Item
from globalprune.text.rows import Column
from globalprune.text.training import TrainingText

Tiny = Callable[[str], Path]
ROWS = random_ids(4, 20)


def windows_of(*lengths: int) -> TrainingWindows:
    """Windows of these lengths."""
    rows = tuple(torch.zeros(length, dtype=torch.int64) for length in lengths)
    record: Any = None
    return TrainingWindows([TrainingText(rows, rows, record, Column.TEXT, len(rows))])


@pytest.mark.parametrize("weight", [0.3, 1.0])
@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_the_loss_is_a_mean_over_tokens_of_text_and_teacher(
    tiny: Tiny, tmp_path: Path, weight: float, temperature: float
) -> None:
    """(1 - weight) · cross-entropy + weight · T² · KL(teacher ‖ student), by formula."""
    teacher = save_tiny(tmp_path / "teacher", "llama", seed=1)
    data = write_lines(tmp_path / "a.jsonl", [{"input_ids": row} for row in ROWS.tolist()])
    recipe = DistillationSettings(weight=weight, temperature=temperature, top_k=260)
    settings = small(samples=4, distillation=recipe)
    finetuned(tiny("llama"), tmp_path / "out", settings, teacher=str(teacher), data=[str(data)])
    with torch.no_grad():
        student, taught = (
            load_model(folder)(ROWS).logits[:, :-1].flatten(0, 1)
            for folder in (tiny("llama"), teacher)
        )
    text = functional.cross_entropy(student, ROWS[:, 1:].flatten())
    p, q = ((logits / temperature).log_softmax(-1) for logits in (taught, student))
    divergence = temperature**2 * functional.kl_div(q, p, log_target=True, reduction="batchmean")
    expected = (1 - weight) * text + weight * divergence
    assert losses(tmp_path / "out") == pytest.approx([float(expected)], rel=1e-4)


@pytest.mark.parametrize(
    ("count", "batch", "accumulate", "epochs", "steps"),
    [(200, 4, 1, 1, 50), (200, 4, 4, 1, 13), (201, 4, 1, 2, 102), (3, 4, 1, 1, 1)],
    ids=["batches", "accumulated", "two epochs", "less than a batch"],
)
def test_ten_checkpoints_and_the_warmup_follow_the_steps(
    tmp_path: Path, count: int, batch: int, accumulate: int, epochs: int, steps: int
) -> None:
    """The last step may be a smaller one; the rate rises over the part asked of all steps."""
    settings = small(batch_size=batch, accumulate=accumulate, epochs=epochs, warmup=0.1)
    arguments = training_arguments(tmp_path, settings, windows_of(*[8] * count), use_cpu=True)
    assert arguments.save_steps == -(-steps // 10)
    assert arguments.warmup_steps == round(0.1 * steps)


def test_windows_of_several_lengths_run_one_at_a_time(tmp_path: Path) -> None:
    """As many are accumulated to a step as would have run at once."""
    settings = small(batch_size=4, accumulate=2)
    ragged, even = (
        training_arguments(tmp_path, settings, windows_of(*lengths), use_cpu=True)
        for lengths in ((8, 9), (8, 8))
    )
    assert (ragged.per_device_train_batch_size, ragged.gradient_accumulation_steps) == (1, 8)
    assert (even.per_device_train_batch_size, even.gradient_accumulation_steps) == (4, 2)


def test_a_bar_counts_the_steps_and_ends(tiny: Tiny, tmp_path: Path) -> None:
    """One bar, which knows how many steps there are, and is run to its end."""
    told: list[tuple[str, int, str]] = []
    seen: list[str] = []

    def bar(items: Iterable[Item], *, total: int, label: str, unit: str) -> Iterator[Item]:
        told.append((label, total, unit))
        for item in items:
            seen.append(label)
            yield item
        seen.append(f"{label} ended")

    finetuned(tiny("llama"), tmp_path / "out", progress=bar)
    assert told[-1] == ("finetuning", 4, "steps")
    assert seen[-5:] == ["finetuning"] * 4 + ["finetuning ended"]


def test_the_rate_rises_and_then_falls_to_0(tiny: Tiny, tmp_path: Path) -> None:
    """Linearly; the curve keeps it for every step."""
    finetuned(tiny("llama"), tmp_path / "out", small(samples=40, warmup=0.2, learning_rate=1e-3))
    lines = (tmp_path / "out" / "globalprune" / "loss.csv").read_text().splitlines()[1:]
    rates = [float(line.split(",")[2]) for line in lines]
    assert rates[:3] == pytest.approx([0, 5e-4, 1e-3])
    assert rates[2:] == pytest.approx([1e-3 * left / 8 for left in range(8, 0, -1)])


def checkpoint(folder: Path, step: int, *, whole: bool = True) -> Path:
    """Make one."""
    path = folder / f"checkpoint-{step}"
    path.mkdir()
    (path / "optimizer.pt").touch()
    if whole:
        (path / "trainer_state.json").write_text(json.dumps({"global_step": step}))
    return path


def test_the_latest_whole_one_is_taken(tmp_path: Path) -> None:
    """By its number, not its name; a half-written one is passed over."""
    checkpoint(tmp_path, 90)
    expected = checkpoint(tmp_path, 100)
    checkpoint(tmp_path, 110, whole=False)
    assert last_checkpoint(tmp_path) == expected
    assert step_of(expected) == 100


@pytest.mark.parametrize("state", ["", '{"global_step": 1', '{"global_step": 9}', "[]"])
def test_a_state_that_was_not_written_to_its_end_makes_none(tmp_path: Path, state: str) -> None:
    """The one before is gone on from, instead of a traceback for good."""
    expected = checkpoint(tmp_path, 90)
    (checkpoint(tmp_path, 100) / "trainer_state.json").write_text(state)
    assert last_checkpoint(tmp_path) == expected


def test_without_one_there_is_none(tmp_path: Path) -> None:
    """A run may be stopped before its first, or before its folder."""
    checkpoint(tmp_path, 1, whole=False)
    assert last_checkpoint(tmp_path) is None
    assert last_checkpoint(tmp_path / "nowhere") is None
