"""What goes into a finetuning: who may learn, from whom, and from what text."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_finetunings import CHATML, finetuned, give_template, small, write_chats, write_text
from tiny_models import save_tiny

from globalprune.artifacts.results.finetuning import DistillationSettings
from globalprune.errors import CheckpointError, UsageError
from globalprune.finetuning.inputs import TrainingWindows, collate
from globalprune.text.rows import IGNORED_LABEL, Column
from globalprune.text.training import TrainingText

Tiny = Callable[[str], Path]


def test_conversations_are_learned_and_counted(tmp_path: Path) -> None:
    """The record says which part was chat; only answers count."""
    base = save_tiny(tmp_path / "base", "llama")
    give_template(base, CHATML)
    data = [f"{write_text(tmp_path)}@0.5", f"{write_chats(tmp_path)}@0.5"]
    run = finetuned(base, tmp_path / "out", small(seq_len=64), data=data)
    assert [part.is_chat for part in run.data] == [False, True]
    assert [part.weight for part in run.data] == [0.5, 0.5]
    assert 8 * 63 < run.learned_tokens < 8 * 63 + 8 * 32
    assert run.warnings == ()


def test_a_chat_model_that_is_shown_plain_text_alone_is_a_doubt(tmp_path: Path) -> None:
    """The run goes on; the record keeps the warning."""
    base = save_tiny(tmp_path / "base", "llama")
    give_template(base, CHATML)
    run = finetuned(base, tmp_path / "out", small(samples=4))
    (warning,) = run.warnings
    assert "has a chat template, and all of the text is plain" in warning


def test_a_gguf_file_is_refused(tmp_path: Path) -> None:
    """Its weights are quantised; the message says how to make a folder of them."""
    path = tmp_path / "model.gguf"
    path.touch()
    with pytest.raises(CheckpointError, match=r"quantised weights, which can't be trained; make a"):
        finetuned(path, tmp_path / "out")


def test_a_teacher_of_another_vocabulary_is_refused(tiny: Tiny, tmp_path: Path) -> None:
    """Their next tokens can't be compared, whether the count differs or the tokens do."""
    more = save_tiny(tmp_path / "more", "llama", vocab_size=270)
    other = save_tiny(tmp_path / "other", "llama")
    tokenizer = other / "tokenizer.json"
    tokenizer.write_text(tokenizer.read_text().replace("<unk>", "<odd>"))
    settings = small(distillation=DistillationSettings())
    for teacher in (more, other):
        with pytest.raises(
            UsageError,
            match=rf"^--teacher {teacher}: has another tokenizer than .* \(2[67]0 and 260 tok",
        ):
            finetuned(tiny("llama"), tmp_path / "out", settings, teacher=str(teacher))


def test_a_teacher_leads_the_student(tiny: Tiny, tmp_path: Path) -> None:
    """Learning from it alone brings the student nearer to it, whatever its family."""
    base = save_tiny(tmp_path / "base", "qwen2", seed=1)
    recipe = DistillationSettings(weight=1.0, top_k=260)
    settings = small(distillation=recipe, lora=None, samples=64, learning_rate=5e-3)
    run = finetuned(base, tmp_path / "out", settings, teacher=str(tiny("llama")))
    assert run.teacher is not None
    assert run.teacher.source == str(tiny("llama"))
    assert run.last_loss < 0.8 * run.first_loss


def test_windows_longer_than_the_model_are_refused(tiny: Tiny, tmp_path: Path) -> None:
    """With the options of every command that finetunes."""
    told = (
        r"^windows of 300 tokens to learn from: the model was made for 256 positions; say "
        r"--seq-len 256 at most \(--finetune-seq-len of gp apply and gp prune\)\.$"
    )
    with pytest.raises(UsageError, match=told):
        finetuned(tiny("llama"), tmp_path / "out", small(seq_len=300))


RECORD: Any = None


def text_of(rows: list[list[int]], labels: list[list[int]] | None = None) -> TrainingText:
    """Text of these rows."""
    ids, learned = (
        tuple(map(torch.tensor, values)) for values in (rows, rows if labels is None else labels)
    )
    return TrainingText(ids, learned, RECORD, Column.TEXT, len(ids))


def test_only_what_can_be_predicted_counts() -> None:
    """Not what is ignored, nor a window's first token, whatever its label."""
    chat = text_of([[5, 6, 7, 8]], [[5, IGNORED_LABEL, 7, 8]])
    assert TrainingWindows([chat]).learned_tokens == 2
    assert TrainingWindows([chat, text_of([[1, 2, 3]])]).learned_tokens == 4


def test_sources_follow_each_other() -> None:
    """In the order in which they were named."""
    windows = TrainingWindows([text_of([[1, 2], [3, 4]]), text_of([[5, 6]])])
    rows = [windows[index]["input_ids"].tolist() for index in range(len(windows))]
    assert rows == [[1, 2], [3, 4], [5, 6]]
    batch = collate([windows[0], windows[2]])
    assert batch["input_ids"].tolist() == [[1, 2], [5, 6]]
    assert batch["labels"].tolist() == [[-100, 2], [-100, 6]]  # nothing predicts the first


def test_the_digest_is_of_ids_labels_and_order() -> None:
    """So that a run is only resumed on the very same lesson."""
    one = TrainingWindows([text_of([[1, 2], [3, 4]])]).digest
    assert TrainingWindows([text_of([[1, 2]]), text_of([[3, 4]])]).digest == one
    others = [
        text_of([[3, 4], [1, 2]]),
        text_of([[1, 2], [3, 5]]),
        text_of([[1, 2], [3, 4]], [[1, 2], [3, IGNORED_LABEL]]),
        text_of([[1, 2]]),
    ]
    assert len({one, *(TrainingWindows([text]).digest for text in others)}) == 5


def test_windows_cut_otherwise_are_another_lesson() -> None:
    """The same ids in other rows."""
    assert (
        TrainingWindows([text_of([[1, 2, 3, 1, 2, 3]])]).digest
        != TrainingWindows([text_of([[1, 2, 3], [1, 2, 3]])]).digest
    )


def test_windows_are_ragged_where_any_length_differs() -> None:
    """Across sources too."""
    even = TrainingWindows([text_of([[1, 2], [3, 4]])])
    ragged = TrainingWindows([text_of([[1, 2], [3, 4]]), text_of([[1, 2, 3]])])
    assert (even.is_ragged, ragged.is_ragged) == (False, True)
