"""A row of `messages` as a dialogue: checked, and spelled as templates read it.

Content may be a text, or parts that are texts, as data sets of models that also see have it: these
are joined, and any other part is refused by name.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from globalprune.errors import TextError
from globalprune.text.rows import TOOLS, Column

Message = dict[str, Any]
ASSISTANT: Final = "assistant"
_TEXT_PARTS: Final = ("text", "input_text", "output_text")
# 0 and false at an assistant's message: it is there to be read, and not to be learned
_LEARNED_IF: Final = ("weight", "train")
_LAST: Final = 20  # characters by which a text is found again
_DEEPEST: Final = 32  # lists and objects within each other
_SHAPE: Final = 'it should look like [{"role": "user", "content": "…"}, {"role": "assistant", …}].'


@dataclass(frozen=True)
class Dialogue:
    """Messages with plain texts, the tools that they may call, and which messages are learned."""

    messages: tuple[Message, ...]
    tools: list[Any] | None
    learned: tuple[int, ...]

    @property
    def in_parts(self) -> tuple[Message, ...]:
        """The messages with each text as a list of one part, as some templates want it."""
        return tuple(
            message | {"content": [{"type": "text", "text": message["content"]}]}
            if "content" in message
            else message
            for message in self.messages
        )

    @property
    def last_words(self) -> str:
        """The end of the last text, which is to be found in what a template writes."""
        texts = [message["content"].strip() for message in self.messages if "content" in message]
        return next((text[-_LAST:] for text in reversed(texts) if text), "")


def read_dialogue(row: Mapping[str, object], where: str) -> Dialogue:
    """Check a row; raise `TextError` with the message at fault."""
    value = row[Column.MESSAGES]
    if not isinstance(value, list) or not value or not all(isinstance(one, dict) for one in value):
        raise TextError(f"{where}: `messages` is not a list of messages; {_SHAPE}")
    found = [_message(one, f"{where}: message {n}") for n, one in enumerate(value, start=1)]
    learned = tuple(index for index, (_, is_learned) in enumerate(found) if is_learned)
    return Dialogue(tuple(message for message, _ in found), _tools(row, where), learned)


def _message(raw: dict[str, Any], where: str) -> tuple[Message, bool]:
    """One message, and whether the assistant says it and it is to be learned."""
    message: Message = _without_nulls(raw, where)
    role = message.get("role")
    if not isinstance(role, str):
        raise TextError(f"{where} has no `role`, so these are not messages; {_SHAPE}")
    calls = message.get("tool_calls")
    if calls is not None:
        message["tool_calls"] = _calls(calls, where)
    if "content" in message:
        message["content"] = _text(message["content"], where)
    elif not calls:
        raise TextError(
            f"{where} ({role}) has no content, and calls no tool; mend or drop the row."
        )
    is_learned = role == ASSISTANT
    for key in _LEARNED_IF:
        flag = message.pop(key, None)
        if flag not in (None, 0, 1):
            raise TextError(
                f"{where}: `{key}` is {flag!r}, and a message is learned (1) or not (0); mend the "
                "row."
            )
        is_learned = is_learned and flag in (None, 1)
    return message, is_learned


def _text(content: object, where: str) -> str:
    """The content as one text."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise TextError(
            f"{where}: `content` is a {type(content).__name__}, not a text; mend or drop the row."
        )
    return "".join(_part(part, where) for part in content)


def _part(part: object, where: str) -> str:
    """The text of one part."""
    kind = part.get("type", "text") if isinstance(part, dict) else type(part).__name__
    text = part.get("text") if isinstance(part, dict) else None
    if kind not in _TEXT_PARTS or not isinstance(text, str):
        raise TextError(
            f"{where}: `content` has a part of type {kind!r}, and only parts of text can be read "
            '({"type": "text", "text": "…"}); drop the part, or the row.'
        )
    return text


def _calls(calls: object, where: str) -> list[Message]:
    """The calls of tools; arguments that are JSON in a text become what they say."""
    if not isinstance(calls, list) or not all(isinstance(call, dict) for call in calls):
        raise TextError(f"{where}: `tool_calls` is not a list of calls; mend or drop the row.")
    return [_call(call) for call in calls]


def _call(call: Message) -> Message:
    """One call, as templates read it: with its arguments by name."""
    function = call.get("function")
    if isinstance(function, dict) and isinstance(function.get("arguments"), str):
        try:
            arguments = json.loads(function["arguments"])
        except (ValueError, RecursionError):
            return call  # no JSON, so it is meant as a text
        if isinstance(arguments, dict):
            return call | {"function": function | {"arguments": arguments}}
    return call


def _tools(row: Mapping[str, object], where: str) -> list[Any] | None:
    """The functions that may be called, as a list or as JSON in a text."""
    value = row.get(TOOLS)
    if isinstance(value, str) and value.strip():
        try:
            value = json.loads(value)
        except (ValueError, RecursionError) as error:
            raise TextError(f"{where}: `{TOOLS}` is not JSON ({error}); mend the row.") from error
    if not value:
        return None
    if not isinstance(value, Sequence) or not all(isinstance(tool, dict) for tool in value):
        raise TextError(f"{where}: `{TOOLS}` is not a list of functions; mend or drop the row.")
    return [_without_nulls(tool, where) for tool in value]


def _without_nulls(value: Any, where: str, depth: int = 0) -> Any:
    """Without the keys that say nothing: a table gives every row every key that any of them has."""
    if depth > _DEEPEST:
        raise TextError(f"{where}: is nested deeper than {_DEEPEST} levels; mend or drop the row.")
    if isinstance(value, dict):
        return {
            key: _without_nulls(inner, where, depth + 1)
            for key, inner in value.items()
            if inner is not None
        }
    if isinstance(value, list):
        return [_without_nulls(inner, where, depth + 1) for inner in value]
    return value
