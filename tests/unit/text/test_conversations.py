"""Of a conversation only what the assistant says is learned, whatever template writes it down."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet
import pytest
from text_files import VOCABULARY, write_lines
from tiny_finetunings import CHATML
from tiny_models import tiny_tokenizer

from globalprune.errors import TextError
from globalprune.evaluation.windows import evaluation_windows
from globalprune.text.calibration import calibration_windows
from globalprune.text.conversations import (
    ConversationTokens,
    read_conversation,
    tokenise_conversations,
)
from globalprune.text.files import local_rows
from globalprune.text.rows import TRAINING_COLUMNS, Column, TextRows

MARKED = (
    "{% for m in messages %}[{{ m.role }}]"
    "{% if m.role == 'assistant' %}{% generation %}{{ m.content }}</s>{% endgeneration %}"
    "{% else %}{{ m.content }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}[assistant]{% endif %}"
)
WITH_SYSTEM = (
    "{% if messages[0].role != 'system' %}<sys>Be kind.</sys>{% endif %}"
    "{% for m in messages %}<{{ m.role }}>{{ m.content }}</{{ m.role }}>{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)
FORGETFUL = (  # thoughts are written in the last turn alone
    "{% for m in messages %}<{{ m.role }}>"
    "{% if m.thought and loop.last %}({{ m.thought }}){% endif %}"
    "{{ m.content }};{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)
BACKWARDS = "{% for m in messages | reverse %}<{{ m.role }}>{{ m.content }};{% endfor %}"
STRICT = (
    "{% for m in messages %}"
    "{% if m.role not in ['user', 'assistant'] %}{{ raise_exception('who is that?') }}{% endif %}"
    "{{ m.content + ';' }}{% endfor %}"
)


def says(role: str, content: str, **more: str) -> dict[str, str]:
    """One message."""
    return {"role": role, "content": content, **more}


TALK = [
    says("user", "How far?"),
    says("assistant", "Two miles, née drei."),
    says("user", "Left or right?"),
    says("assistant", "Left."),
]


def written(template: str, *values: object) -> list[ConversationTokens]:
    """These rows as a template writes them down."""
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = template
    places = ((f"here, line {n}", {"messages": value}) for n, value in enumerate(values, start=1))
    return list(tokenise_conversations(TextRows(Column.MESSAGES, places), tokenizer, "here"))


def learned(conversation: ConversationTokens) -> list[str]:
    """The stretches that are learned, as text."""
    stretches: list[list[int]] = []
    before = False
    for token, trained in zip(conversation.ids, conversation.loss_mask, strict=True):
        if trained:
            if not before:
                stretches.append([])
            stretches[-1].append(int(token))
        before = bool(trained)
    return [str(tiny_tokenizer().decode(stretch)) for stretch in stretches]


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        (CHATML, ["Two miles, née drei.<|im_end|>\n", "Left.<|im_end|>\n"]),
        (MARKED, ["Two miles, née drei.</s>", "Left.</s>"]),
        (WITH_SYSTEM, ["Two miles, née drei.</assistant>", "Left.</assistant>"]),
    ],
    ids=["ChatML", "marked", "default system prompt"],
)
def test_only_the_assistants_words_and_their_end_are_learned(
    template: str, expected: Sequence[str]
) -> None:
    """Neither questions nor prompts, and the mark that ends a turn, which says when to stop."""
    (conversation,) = written(template, TALK)
    assert learned(conversation) == list(expected)


def test_the_ids_are_the_whole_conversation_as_the_template_writes_it() -> None:
    """Special tokens are ids of their own, and nothing is added before or behind."""
    (conversation,) = written(MARKED, TALK)
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = MARKED
    assert conversation.ids.tolist() == tokenizer.apply_chat_template(TALK, return_dict=False)
    assert (conversation.ids == tokenizer.eos_token_id).sum() == 2


def test_a_turn_that_the_template_rewrites_later_is_not_learned() -> None:
    """Some drop earlier thoughts: what the model would never write so is only read."""
    talk = [dict(message) for message in TALK]
    for turn in talk[1::2]:
        turn["thought"] = "hm"
    (conversation,) = written(FORGETFUL, talk)
    assert learned(conversation) == ["(hm)Left.;"]


def test_an_assistant_that_speaks_first_is_learned_from_its_first_word() -> None:
    """A greeting has no prompt before it."""
    (conversation,) = written(
        "{% for m in messages %}{{ m.content }};{% endfor %}",
        [
            says("assistant", "Hello!"),
            says("user", "Hi."),
        ],
    )
    assert learned(conversation) == ["Hello!;"]


def test_a_template_whose_turns_cannot_be_told_apart_is_refused() -> None:
    """The message says in which two forms the rows could be given instead."""
    with pytest.raises(
        TextError,
        match=r"^here, line 1: the model's chat template writes the assistant's turns so that they "
        r"can't be told from the prompt; write the conversations out as `text`, or as `input_ids`",
    ):
        written(BACKWARDS, TALK)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("hello", r"`messages` is not a list of messages; it should look like \[\{\"role\""),
        ([], "`messages` is not a list of messages"),
        (None, "`messages` is not a list of messages"),
        ([{"content": "x"}], "message 1 has no `role`, so these are not messages"),
        ([TALK[0], "Left."], "`messages` is not a list of messages"),
        (
            [TALK[0]],
            r"no message is the assistant's \(found user\) and to be learned.*drop the row",
        ),
        (
            [says("robot", "beep"), TALK[1]],
            r"the model's chat template doesn't take this conversation \(TemplateError: who is th",
        ),
        (
            [says("user", "Q"), {"role": "assistant", "content": 3}],
            "message 2: `content` is a int, not a text; mend or drop the row",
        ),
    ],
    ids=["text", "empty", "null", "no role", "a string", "no assistant", "a role", "a number"],
)
def test_a_bad_row_is_refused_with_its_place(value: Any, message: str) -> None:
    """Rows before it don't hide which one it is."""
    with pytest.raises(TextError, match=f"^here, line 2: {message}"):
        written(STRICT, TALK, value)


def test_a_table_gives_the_same_conversations_as_lines(tmp_path: Path) -> None:
    """Its messages have every key that any of them has, null where it isn't theirs."""
    talks = [
        [says("user", "Q"), says("assistant", "A", thought="hm")],
        [says("system", "Be brief."), *TALK],
    ]
    lines = write_lines(tmp_path / "a.jsonl", [{"messages": talk} for talk in talks])
    pyarrow.parquet.write_table(pa.table({"messages": talks}), tmp_path / "a.parquet")
    tokenizer = tiny_tokenizer()
    # a null that reached it would be written
    tokenizer.chat_template = FORGETFUL.replace("m.thought and", "m.thought is defined and")
    one, other = (
        list(tokenise_conversations(local_rows([path], TRAINING_COLUMNS), tokenizer, "here"))
        for path in (lines, tmp_path / "a.parquet")
    )
    assert [part.digest for part in one] == [part.digest for part in other]
    assert [part.ids.tolist() for part in one] == [part.ids.tolist() for part in other]
    assert [learned(part) for part in one] == [learned(part) for part in other]
    assert learned(one[0]) == ["(hm)A;"]


def test_a_template_that_names_the_day_writes_the_same_every_day() -> None:
    """Else a run that is gone on with tomorrow would learn another text."""
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = (
        "{% if date_string is not defined %}{% set date_string = strftime_now('%d %b %Y') %}"
        "{% endif %}{{ date_string }}{% for m in messages %}[{{ m.role }}]{{ m.content }}"
        "{% endfor %}{% if add_generation_prompt %}[assistant]{% endif %}"
    )
    messages = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    rows = TextRows(Column.MESSAGES, iter([("here", {"messages": messages})]))
    [conversation] = tokenise_conversations(rows, tokenizer, "here")
    assert tokenizer.decode(conversation.ids) == "26 Jul 2024[user]a[assistant]b"


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


def read(template: str, *rows: dict[str, Any]) -> list[ConversationTokens]:
    """These rows as a template writes them down."""
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = template
    places = ((f"here, line {n}", row) for n, row in enumerate(rows, start=1))
    return list(tokenise_conversations(TextRows(Column.MESSAGES, places), tokenizer, "here"))


def text_of(conversation: ConversationTokens) -> str:
    """What was written."""
    return str(tiny_tokenizer().decode(conversation.ids))


def learned_of(conversation: ConversationTokens) -> str:
    """What is learned of it."""
    return str(tiny_tokenizer().decode(conversation.ids[conversation.loss_mask]))


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
        read_conversation({"messages": messages}, "here, line 3")


def test_endless_nesting_is_refused() -> None:
    """Before anything recurses into it."""
    nested: Any = "x"
    for _ in range(500):
        nested = [nested]
    with pytest.raises(TextError, match="message 1: is nested deeper than 32 levels"):
        read_conversation({"messages": [{"role": "user", "content": nested}]}, "here")


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
