"""The model's chat template, and how it is run: a stranger's program, in bounds of time and memory.

jinja's sandbox keeps it from files and from Python, and not from loops without end or strings of
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
TIME_LIMIT: Final = 20  # of one conversation; a template takes milliseconds
MEMORY_LIMIT: Final = 2**30  # bytes more than there were
MAX_CHARACTERS: Final = 2**26  # characters of one conversation
# Llama 3's templates write the day unless they are told one; what is learned must not change by it
TEMPLATE_DATE: Final = "26 Jul 2024"
_DEFAULT: Final = "default"
_OWN_CODE: Final = "<template>"  # how jinja names what it compiles


class ChatTemplate:
    """A template that is there, and writes conversations down."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, wanted: str) -> None:
        """Choose the template as transformers does; raise `TextError` where there is none.

        `wanted` says where and why there has to be one: "chats.jsonl: holds `messages`".
        """
        self._tokenizer = tokenizer
        self._template = _chosen(tokenizer.chat_template, wanted)
        _refuse_powers(self._template, wanted)

    def write(
        self,
        messages: Sequence[Message],
        where: str,
        *,
        tools: list[Any] | None = None,
        prompting: bool = False,
    ) -> str:
        """The conversation as the template writes it; with the prompt of the next turn, or not."""
        refused = f"{where}: the model's chat template doesn't take this conversation"
        with library_errors(TextError, refused, "mend or drop the row."):
            try:
                with _bounded():
                    written = self._tokenizer.apply_chat_template(
                        list(messages),
                        tools=tools,
                        chat_template=self._template,
                        tokenize=False,
                        add_generation_prompt=prompting,
                        date_string=TEMPLATE_DATE,
                    )
            except MemoryError as error:
                raise TemplateError(f"needs more than {MEMORY_LIMIT >> 20:,} MiB") from error
        text = str(written)
        if len(text) > MAX_CHARACTERS:
            raise TextError(
                f"{refused} (it writes {len(text):,} characters); mend the template, or the row."
            )
        return text


def _chosen(template: object, wanted: str) -> str:
    """The one template, or the default of several."""
    if isinstance(template, Mapping):
        if _DEFAULT not in template:
            raise TextError(
                f"{wanted}, and the model's tokenizer has chat templates named "
                f"{', '.join(sorted(map(str, template))) or 'nothing'}, none of them "
                f"`{_DEFAULT}`; name the one to use so in tokenizer_config.json, or write it into "
                "chat_template.jinja."
            )
        template = template[_DEFAULT]
    if template is None:
        raise TextError(
            f"{wanted}, and the model's tokenizer has no chat template to write "
            "conversations down with; give the text as `text`, or name a model that has one."
        )
    if not isinstance(template, str):
        raise TextError(
            f"{wanted}, and the chat template of the model's tokenizer is a "
            f"{type(template).__name__}, not a text; mend tokenizer_config.json."
        )
    return template


def _refuse_powers(template: str, wanted: str) -> None:
    """Raise for a template that isn't one, or that could reckon for days within one step."""
    reader = Environment(extensions=["jinja2.ext.loopcontrols", _Generation], autoescape=True)
    try:
        parsed = reader.parse(template)
    except (TemplateSyntaxError, RecursionError) as error:
        line = f" in line {error.lineno}" if isinstance(error, TemplateSyntaxError) else ""
        raise TextError(
            f"{wanted}, and the chat template of the model's tokenizer is none "
            f"({type(error).__name__}{line}: {error}); mend it."
        ) from error
    if parsed.find(nodes.Pow) is not None:
        raise TextError(
            f"{wanted}, and the chat template of the model's tokenizer reckons "
            "with powers (**), which no conversation needs; mend it."
        )


class _Generation(Extension):
    """The tag by which transformers marks what an assistant says."""

    tags: set[str] = {"generation"}  # noqa: RUF012 - as jinja declares it

    def parse(self, parser: Parser) -> list[nodes.Node]:
        """Read what stands between the tags."""
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


@contextmanager
def _bounded() -> Iterator[None]:
    """Stop a template that takes longer than `TIME_LIMIT`, or more memory than `MEMORY_LIMIT`.

    Looked at before each line of the template, so that it works in any thread; memory is refused
    by the system, where it can.
    """
    end = time.monotonic() + TIME_LIMIT

    def before_line(frame: FrameType, event: str, argument: object) -> Any:
        del frame, event, argument
        if time.monotonic() > end:
            raise TemplateError(f"takes longer than {TIME_LIMIT} seconds")
        return before_line

    def at_call(frame: FrameType, event: str, argument: object) -> Any:
        del event, argument
        return before_line if frame.f_code.co_filename == _OWN_CODE else None

    traced = sys.gettrace()
    sys.settrace(at_call)
    try:
        with _less_memory():
            yield
    finally:
        sys.settrace(traced)


@contextmanager
def _less_memory() -> Iterator[None]:
    """Let the process take `MEMORY_LIMIT` more bytes than it has, where the system keeps count."""
    pages = Path("/proc/self/statm")
    if not pages.exists():
        yield
        return
    import resource

    used = int(pages.read_text().split()[0]) * resource.getpagesize()
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    known = [limit for limit in (soft, hard) if limit != resource.RLIM_INFINITY]
    resource.setrlimit(resource.RLIMIT_AS, (min([used + MEMORY_LIMIT, *known]), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
