"""Windows of conversations to train on: joined and cut, with something to learn in each."""

import json
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from text_files import (
    ids_of,
    numbered_text,
    position_of,
    write_lines,
)
from tiny_finetunings import chatty, training_windows, write_chats
from tiny_models import tiny_tokenizer

from globalprune.errors import TextError
from globalprune.text.rows import IGNORED_LABEL
from globalprune.text.training import TrainingText


def learned_text(text: TrainingText) -> str:
    """All that is learned of some windows."""
    labels = torch.cat(list(text.labels))
    return str(tiny_tokenizer().decode(labels[labels != IGNORED_LABEL]))


def test_of_a_conversation_only_the_answers_are_learned(tmp_path: Path) -> None:
    """The questions stand in the windows and count for nothing."""
    (text,) = training_windows(write_chats(tmp_path, 300), samples=60, make=chatty)
    read = tiny_tokenizer().decode(torch.cat(list(text.rows)))
    assert "What follows" in read
    assert "It is " in learned_text(text)
    assert "What" not in learned_text(text)
    assert "user" not in learned_text(text)


def test_every_window_of_conversations_has_something_to_learn(tmp_path: Path) -> None:
    """A question alone teaches nothing, nor does a first token, which is never predicted."""
    talk = [
        {
            "role": "user",
            "content": "?" + numbered_text(30),
        },  # an odd length: windows begin anywhere
        {"role": "assistant", "content": "yes"},
    ]
    path = write_lines(tmp_path / "a.jsonl", [{"messages": talk}] * 40)
    with pytest.raises(TextError, match="say --samples") as found:
        training_windows(path, samples=1000, seq_len=16, make=chatty)
    most = int(str(found.value).partition("say --samples ")[2].partition(",")[0])
    (text,) = training_windows(path, samples=most, seq_len=16, make=chatty)
    assert all((labels[1:] != IGNORED_LABEL).any() for labels in text.labels)
    assert all(
        len(row) == len(labels) == 16 for row, labels in zip(text.rows, text.labels, strict=True)
    )


def test_windows_of_conversations_follow_the_template_alone(tmp_path: Path) -> None:
    """No BOS is put before a window, for templates write what a conversation begins with."""
    chats = write_chats(tmp_path)
    (text,) = training_windows(chats, seq_len=80, make=chatty)
    talks = [json.loads(line)["messages"] for line in chats.read_text().splitlines()]
    ids = ids_of("".join(chatty().apply_chat_template(talk, tokenize=False) for talk in talks))
    places = [position_of(row, ids) for row in text.rows]
    assert all(b - a >= 80 for a, b in pairwise(places))
    assert text.record.bos is False


def test_too_few_conversations_say_how_many_windows_they_give(tmp_path: Path) -> None:
    """And that number is one that works."""
    chats = write_chats(tmp_path, 4)
    with pytest.raises(TextError, match=r"chats\.jsonl: its conversations give \d+ windows of 32"):
        training_windows(chats, samples=100, make=chatty)
    with pytest.raises(TextError) as found:
        training_windows(chats, samples=100, make=chatty)
    most = int(str(found.value).partition("say --samples ")[2].partition(",")[0])
    (text,) = training_windows(chats, samples=most, make=chatty)
    assert len(text.rows) == most > 4


def test_conversations_need_a_chat_template(tmp_path: Path) -> None:
    """A base model has none, and none is invented for it."""
    with pytest.raises(TextError, match=r"chats\.jsonl: holds `messages`, and the model's tokeniz"):
        training_windows(write_chats(tmp_path))


def test_a_template_whose_tokens_the_model_lacks_is_refused(tmp_path: Path) -> None:
    """Else the embedding would fail far into the run."""
    make = chatty()
    make.add_special_tokens({"additional_special_tokens": ["<|im_start|>"]})
    with pytest.raises(
        TextError,
        match=r"the tokenizer gives id 260 \('<\|im_start\|>'\), but the model has only 260 em",
    ):
        training_windows(write_chats(tmp_path), make=lambda: make)
