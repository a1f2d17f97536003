"""The model's chat template, which is a stranger's program: run within bounds of time and memory.

jinja's sandbox keeps it from files and from Python, but not from endless loops or strings of
gigabytes.
"""

import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, Final

from jinja2 import Environment, TemplateError, TemplateSyntaxError, nodes
from jinja2.ext import Extension
from jinja2.parser import Parser
from transformers import PreTrainedTokenizerBase

from globalprune.errors import TextError, library_errors

Message = dict[str, Any]
TIME_LIMIT: Final = 20  # seconds for one conversation; a template takes milliseconds
MEMORY_LIMIT: Final = 2**30  # bytes more than the process has before
MAX_CHARACTERS: Final = 2**26  # of one conversation
# Llama 3's templates write the day unless they get one; the same text must be learned every day.
TEMPLATE_DATE: Final = "26 Jul 2024"
_DEFAULT: Final = "default"
_TEMPLATE_FILE: Final = "<template>"  # jinja's file name for the code that it compiles


class ChatTemplate:
    """A chat template that renders conversations as text."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, reason: str) -> None:
        """Choose the template as transformers does.

        `reason` says where and why one is needed: "chats.jsonl: holds `messages`". Raise
        `TextError` where there is none, or none that can be run.
        """
        self._tokenizer = tokenizer
        self._template = _choose_template(tokenizer.chat_template, reason)
        _check_syntax(self._template, reason)

    def render(
        self,
        messages: Sequence[Message],
        where: str,
        *,
        tools: list[Any] | None = None,
        add_generation_prompt: bool = False,
    ) -> str:
        """Return the conversation as text, with or without the prompt of the next turn.

        Raise `TextError`, with `where`, for a conversation that the template refuses, and for a
        template that exceeds its bounds.
        """
        refused = f"{where}: the model's chat template doesn't take this conversation"
        with library_errors(TextError, refused, "mend or drop the row."):
            try:
                with _time_limit(), _memory_limit():
                    rendered = self._tokenizer.apply_chat_template(
                        list(messages),
                        tools=tools,
                        chat_template=self._template,
                        tokenize=False,
                        add_generation_prompt=add_generation_prompt,
                        date_string=TEMPLATE_DATE,
                    )
            except MemoryError as error:
                raise TemplateError(f"needs more than {MEMORY_LIMIT >> 20:,} MiB") from error
        text = str(rendered)
        if len(text) > MAX_CHARACTERS:
            raise TextError(
                f"{refused} (it writes {len(text):,} characters); mend the template, or the row."
            )
        return text


def _choose_template(template: object, reason: str) -> str:
    """Return the only template, or the default of several."""
    if isinstance(template, Mapping):
        if _DEFAULT not in template:
            raise TextError(
                f"{reason}, and the model's tokenizer has chat templates named "
                f"{', '.join(sorted(map(str, template))) or 'nothing'}, none of them "
                f"`{_DEFAULT}`; give one of them this name in tokenizer_config.json, or write it "
                "into chat_template.jinja."
            )
        template = template[_DEFAULT]
    if template is None:
        raise TextError(
            f"{reason}, and the model's tokenizer has no chat template to write "
            "conversations down with; give the text as `text`, or name a model that has one."
        )
    if not isinstance(template, str):
        raise TextError(
            f"{reason}, and the chat template of the model's tokenizer is a "
            f"{type(template).__name__}, not a text; mend tokenizer_config.json."
        )
    return template


def _check_syntax(template: str, reason: str) -> None:
    """Raise `TextError` for no template, and for powers: one step could compute for days."""
    parser = Environment(extensions=["jinja2.ext.loopcontrols", _Generation], autoescape=True)
    try:
        parsed = parser.parse(template)
    except (TemplateSyntaxError, RecursionError) as error:
        line = f" in line {error.lineno}" if isinstance(error, TemplateSyntaxError) else ""
        raise TextError(
            f"{reason}, and the chat template of the model's tokenizer is not valid "
            f"({type(error).__name__}{line}: {error}); mend it."
        ) from error
    if parsed.find(nodes.Pow) is not None:
        raise TextError(
            f"{reason}, and the chat template of the model's tokenizer computes powers (**), which "
            "no conversation needs; mend it."
        )


class _Generation(Extension):
    """The tag by which transformers marks what an assistant says."""

    tags: set[str] = {"generation"}  # noqa: RUF012 - as jinja declares it

    def parse(self, parser: Parser) -> list[nodes.Node]:
        """Parse what stands between the tags."""
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


@contextmanager
def _time_limit() -> Iterator[None]:
    """Stop a template that runs longer than `TIME_LIMIT`.

    A trace function checks before each line of the template, which works in any thread.
    """
    end = time.monotonic() + TIME_LIMIT

    def before_line(frame: FrameType, event: str, argument: object) -> Any:
        del frame, event, argument
        if time.monotonic() > end:
            raise TemplateError(f"takes longer than {TIME_LIMIT} seconds")
        return before_line

    def at_call(frame: FrameType, event: str, argument: object) -> Any:
        del event, argument
        return before_line if frame.f_code.co_filename == _TEMPLATE_FILE else None

    previous = sys.gettrace()
    sys.settrace(at_call)
    try:
        yield
    finally:
        sys.settrace(previous)


@contextmanager
def _memory_limit() -> Iterator[None]:
    """Allow the process `MEMORY_LIMIT` more bytes than it has, where the system can limit it."""
    pages = Path("/proc/self/statm")
    if not pages.exists():
        yield
        return
    import resource

    used = int(pages.read_text().split()[0]) * resource.getpagesize()
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    limits = [limit for limit in (soft, hard) if limit != resource.RLIM_INFINITY]
    resource.setrlimit(resource.RLIMIT_AS, (min([used + MEMORY_LIMIT, *limits]), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
