"""Conversations of every usual spelling are read as what is said, or refused with their message."""

from pathlib import Path
from typing import Any

import pytest
from recovering import CHATML
from texts import VOCABULARY, write_lines
from tiny_models import tiny_tokenizer

from globalprune.errors import TextError
from globalprune.text.calibration import calibration_windows
from globalprune.text.conversations import Conversation, read_conversations
from globalprune.text.evaluation import evaluation_windows
from globalprune.text.messages import read_dialogue
from globalprune.text.rows import Column, Rows

ASKED = {"role": "user", "content": "How far?"}
SAID = {"role": "assistant", "content": "Two miles."}
IN_PARTS = (  # of models that also see: plain texts would be left out
    "{% for m in messages %}[{{ m.role }}]{% for part in m.content %}"
    "{% if part.type == 'text' %}{{ part.text }}{% endif %}{% endfor %}{% endfor %}"
    "{% if add_generation_prompt %}[assistant]{% endif %}"
)
WITH_TOOLS = (
    "{% if tools %}{{ tools | tojson }}{% endif %}{% for m in messages %}[{{ m.role }}]"
    "{% for call in m.tool_calls or [] %}{{ call.function.name }}"
    "({{ call.function.arguments | tojson }}){% endfor %}{{ m.content }}{% endfor %}"
    "{% if add_generation_prompt %}[assistant]{% endif %}"
)


def parts(*texts: str) -> list[dict[str, Any]]:
    """Content as a table has it whose other rows hold pictures."""
    return [{"type": "text", "text": text, "image": None} for text in texts]


def read(template: str, *rows: dict[str, Any]) -> list[Conversation]:
    """These rows as a template writes them down."""
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = template
    places = ((f"here, line {n}", row) for n, row in enumerate(rows, start=1))
    return list(read_conversations(Rows(Column.MESSAGES, places), tokenizer, "here"))


def text_of(conversation: Conversation) -> str:
    """What was written."""
    return str(tiny_tokenizer().decode(conversation.ids))


def learned_of(conversation: Conversation) -> str:
    """What is learned of it."""
    return str(tiny_tokenizer().decode(conversation.ids[conversation.trained]))


@pytest.mark.parametrize("template", [CHATML, IN_PARTS], ids=["texts", "parts"])
def test_parts_of_text_are_the_text(template: str) -> None:
    """Whichever of both a template reads, and whichever of both a row has."""
    plain, apart = read(
        template,
        {"messages": [ASKED, SAID]},
        {"messages": [ASKED, {"role": "assistant", "content": parts("Two ", "miles.")}]},
    )
    assert text_of(plain) == text_of(apart)
    assert "Two miles." in learned_of(apart)
    assert plain.digest == apart.digest


def test_calls_of_tools_are_written_with_their_arguments_by_name() -> None:
    """JSON in a text, as OpenAI's form has them, is what it says; null content is none."""
    function = {"name": "walk", "arguments": '{"miles": 2}'}
    call = {"role": "assistant", "content": None, "tool_calls": [{"function": function}]}
    [conversation] = read(
        WITH_TOOLS,
        {"messages": [ASKED, call, {"role": "tool", "content": "done"}], "tools": '[{"a": 1}]'},
    )
    assert learned_of(conversation) == 'walk({"miles": 2})'
    assert text_of(conversation).startswith('[{"a": 1}][user]How far?')


def test_turns_of_no_weight_are_read_and_not_learned() -> None:
    """OpenAI's `weight: 0`, and `train: false` of others."""
    [conversation] = read(
        CHATML,
        {"messages": [ASKED, SAID | {"weight": 0}, ASKED, SAID | {"train": True, "weight": 1}]},
    )
    assert learned_of(conversation).count("Two miles.") == 1
    assert text_of(conversation).count("Two miles.") == 2


REFUSED: list[tuple[list[Any], str]] = [
    ([ASKED, {"role": "assistant", "content": None}], "message 2 .assistant. has no content"),
    ([{"role": "user", "content": [{"type": "image", "url": "x"}]}], "part of type 'image'"),
    ([{"role": "user", "content": ["x"]}], "part of type 'str'"),
    ([{"role": "user", "content": [{"type": "text", "text": 5}]}], "part of type 'text'"),
    ([{"role": "user", "content": {"text": "x"}}], "message 1: `content` is a dict"),
    ([{"from": "human", "value": "x"}], "message 1 has no `role`"),
    ([ASKED, SAID | {"tool_calls": "walk"}], "message 2: `tool_calls` is not a list"),
    ([ASKED, SAID | {"weight": 0.5}], "message 2: `weight` is 0.5"),
]


@pytest.mark.parametrize(("messages", "told"), REFUSED, ids=lambda of: str(of)[:40])
def test_what_can_not_be_read_is_refused_with_its_message(messages: list[Any], told: str) -> None:
    """And never written down in Python's notation."""
    with pytest.raises(TextError, match=f"here, line 3: .*{told}|here, line 3: {told}"):
        read_dialogue({"messages": messages}, "here, line 3")


def test_endless_nesting_is_refused() -> None:
    """Before anything recurses into it."""
    nested: Any = "x"
    for _ in range(500):
        nested = [nested]
    with pytest.raises(TextError, match="message 1: is nested deeper than 32 levels"):
        read_dialogue({"messages": [{"role": "user", "content": nested}]}, "here")


def test_half_a_character_is_refused() -> None:
    """JSON can spell it, and no tokenizer takes it."""
    with pytest.raises(TextError, match="line 1: holds half a surrogate pair"):
        read(CHATML, {"messages": [ASKED, {"role": "assistant", "content": "a\ud800"}]})


def test_conversations_can_be_measured_with(tmp_path: Path) -> None:
    """As the template writes them, one behind the other: every token counts, and no BOS leads."""
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = CHATML
    rows = [{"messages": [ASKED, SAID]}, {"messages": [ASKED]}]
    path = write_lines(tmp_path / "chats.jsonl", rows)
    whole = "<|im_start|>user\nHow far?<|im_end|>\n<|im_start|>assistant\nTwo miles.<|im_end|>\n"
    whole += "<|im_start|>user\nHow far?<|im_end|>\n"
    judged = evaluation_windows(str(path), lambda: tokenizer, vocab_size=VOCABULARY, seq_len=10)
    measured = calibration_windows(
        str(path), lambda: tokenizer, vocab_size=VOCABULARY, samples=2, seq_len=10
    )
    assert whole.startswith("".join(str(tokenizer.decode(row)) for row in judged.rows))
    assert all(str(tokenizer.decode(row)) in whole for row in measured.rows)
    assert measured.record.bos is False
    with pytest.raises(TextError, match=r"holds `messages`, and .* has no chat template"):
        calibration_windows(str(path), tiny_tokenizer, vocab_size=VOCABULARY)
