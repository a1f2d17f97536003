"""The model's template is chosen as transformers does, and runs in bounds of time and memory."""

from typing import Any

import pytest
from tiny_models import tiny_tokenizer

from globalprune.errors import TextError
from globalprune.text import chat_template
from globalprune.text.chat_template import ChatTemplate

HELLO = [{"role": "user", "content": "hello"}]
PLAIN = "{% for m in messages %}{{ m.content }}{% endfor %}"


def written(template: object) -> str:
    """A short conversation as a template writes it."""
    tokenizer: Any = tiny_tokenizer()
    tokenizer.chat_template = template
    return ChatTemplate(tokenizer, "chats.jsonl: holds `messages`").render(
        HELLO, "chats.jsonl, line 1"
    )


def test_the_default_of_several_is_taken() -> None:
    """Others are for retrieval and tools."""
    assert written({"rag": "other", "default": PLAIN}) == written(PLAIN) == "hello"


LOOPS = "{% for i in range(9999) %}{% for j in range(9999) %}{BODY}{% endfor %}{% endfor %}"
DOUBLED = "{% set ns = namespace(t='x') %}{% for i in range(60) %}{% set ns.t = ns.t ~ ns.t %}"
REFUSED: dict[str, tuple[object, str]] = {
    "none": (None, "chats.jsonl: holds `messages`, and .* has no chat template"),
    "named": ({"rag": PLAIN, "tool": PLAIN}, "named rag, tool, none of them `default`"),
    "number": (5, "is a int, not a text"),
    "syntax": ("\n{% for %}", "is not valid .TemplateSyntaxError in line 2"),
    "unknown tag": ("{% quiz %}", "is not valid .TemplateSyntaxError in line 1"),
    "powers": ("{{ 9 ** 9 ** 9 }}", r"computes powers \(\*\*\)"),
    "raises": ("{{ raise_exception('no system') }}", "line 1: .*TemplateError: no system"),
    "undefined": ("{{ messages[7].content.x }}", "line 1: .*UndefinedError"),
    "no number": ("{{ 1 / 0 }}", "line 1: .*ZeroDivisionError"),
    "silent loop": (LOOPS.replace("{BODY}", ""), "takes longer than 0.3 seconds"),
    "loud loop": (LOOPS.replace("{BODY}", "x"), "takes longer than 0.3 seconds"),
    "memory": ("{{ 'x' * 99999999999 }}", "needs more than"),
    "doubled": (DOUBLED + "{% endfor %}", "needs more than|takes longer than"),
    "long": ("{{ messages[0].content * 999 }}", "writes 4,995 characters"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_template_that_can_not_serve_is_refused(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever is wrong with it, in seconds and in one line."""
    template, message = REFUSED[name]
    monkeypatch.setattr(chat_template, "TIME_LIMIT", 0.3)
    monkeypatch.setattr(chat_template, "MAX_CHARACTERS", 1000)
    with pytest.raises(TextError, match=message):
        written(template)


def test_the_mark_of_what_is_generated_is_no_unknown_tag() -> None:
    """Tags of transformers' own are read as it reads them."""
    assert written("{% generation %}" + PLAIN + "{% endgeneration %}{% set x = 1 %}") == "hello"
