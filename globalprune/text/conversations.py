"""Conversations: messages with roles, read from rows and rendered by the model's chat template."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from transformers import PreTrainedTokenizerBase

from globalprune.artifacts.records import digest_bytes
from globalprune.errors import TextError, library_errors
from globalprune.text.chat_template import ChatTemplate, Message
from globalprune.text.rows import TOOLS, Column, Ids, TextRows, TokenMask
from globalprune.text.tokenization import Document, encode_utf8, read_documents

ASSISTANT: Final = "assistant"
_TEXT_PARTS: Final = ("text", "input_text", "output_text")
# With 0 or false under one of these keys an assistant's message is context, and not learned.
_LEARNED_KEYS: Final = ("weight", "train")
_ENDING: Final = 20  # characters of a text that are searched for in what a template writes
_MAX_DEPTH: Final = 32  # of lists and objects within each other
_EXAMPLE: Final = (
    'it should look like [{"role": "user", "content": "…"}, {"role": "assistant", …}].'
)


@dataclass(frozen=True)
class Conversation:
    """Messages whose contents are plain texts, the tools, and which messages are learned."""

    messages: tuple[Message, ...]
    tools: list[Any] | None
    learned: tuple[int, ...]  # indices of messages

    @property
    def with_parts(self) -> tuple[Message, ...]:
        """The messages with each content as a list of one part, as some templates want it."""
        return tuple(
            message | {"content": [{"type": "text", "text": message["content"]}]}
            if "content" in message
            else message
            for message in self.messages
        )

    @property
    def ending(self) -> str:
        """The end of the last text, which must appear in what a template writes."""
        texts = [message["content"].strip() for message in self.messages if "content" in message]
        return next((text[-_ENDING:] for text in reversed(texts) if text), "")


@dataclass(frozen=True)
class ConversationTokens:
    """One conversation: its ids `[T]`, which of them are learned `[T]`, and its digest."""

    ids: Ids
    loss_mask: TokenMask
    digest: str


def read_texts(rows: TextRows, tokenizer: PreTrainedTokenizerBase, name: str) -> Iterator[Document]:
    """Yield the documents of rows; a conversation is one, as the model's template writes it."""
    if rows.column is not Column.MESSAGES:
        yield from read_documents(rows)
        return
    template = ChatTemplate(tokenizer, f"{name}: holds `messages`")
    for where, row in rows.values:
        conversation = read_conversation(row, where)
        text = _Rendering(conversation, template, where).text
        encode_utf8(text, where)
        yield Document(text, _digest(conversation))


def tokenise_conversations(
    rows: TextRows, tokenizer: PreTrainedTokenizerBase, name: str
) -> Iterator[ConversationTokens]:
    """Render and tokenise every conversation.

    Raise `TextError` for one that the template refuses or that holds nothing to learn, and for a
    tokenizer that doesn't say where in the text its tokens are.
    """
    template = ChatTemplate(tokenizer, f"{name}: holds `messages`")
    if not tokenizer.is_fast:
        raise TextError(
            "conversations need a fast tokenizer (tokenizer.json), which tells where a token lies "
            "in the text; save the model's tokenizer as one, or give the text as `input_ids`."
        )
    for where, row in rows.values:
        conversation = read_conversation(row, where)
        if not conversation.learned:
            roles = ", ".join(sorted({message["role"] for message in conversation.messages}))
            raise TextError(
                f"{where}: no message is the assistant's (found {roles}) and to be learned, so "
                "there is nothing to learn; drop the row."
            )
        rendering = _Rendering(conversation, template, where)
        ids, loss_mask = _tokenise(rendering, tokenizer)
        yield ConversationTokens(ids, loss_mask, _digest(conversation))


def read_conversation(row: Mapping[str, object], where: str) -> Conversation:
    """Read a row of `messages`; raise `TextError` with the message at fault."""
    value = row[Column.MESSAGES]
    if not isinstance(value, list) or not value or not all(isinstance(one, dict) for one in value):
        raise TextError(f"{where}: `messages` is not a list of messages; {_EXAMPLE}")
    messages = [_read_message(one, f"{where}: message {n}") for n, one in enumerate(value, start=1)]
    learned = tuple(index for index, (_, is_learned) in enumerate(messages) if is_learned)
    return Conversation(tuple(message for message, _ in messages), _read_tools(row, where), learned)


def _read_message(raw: dict[str, Any], where: str) -> tuple[Message, bool]:
    """Return one message, and whether it is the assistant's and to be learned."""
    message: Message = _without_nulls(raw, where)
    role = message.get("role")
    if not isinstance(role, str):
        raise TextError(f"{where} has no `role`, so these are not messages; {_EXAMPLE}")
    calls = message.get("tool_calls")
    if calls is not None:
        message["tool_calls"] = _read_calls(calls, where)
    if "content" in message:
        message["content"] = _read_content(message["content"], where)
    elif not calls:
        raise TextError(
            f"{where} ({role}) has no content, and calls no tool; mend or drop the row."
        )
    is_learned = role == ASSISTANT
    for key in _LEARNED_KEYS:
        flag = message.pop(key, None)
        if flag not in (None, 0, 1):
            raise TextError(
                f"{where}: `{key}` is {flag!r}, and a message is learned (1) or not (0); mend the "
                "row."
            )
        is_learned = is_learned and flag in (None, 1)
    return message, is_learned


def _read_content(content: object, where: str) -> str:
    """Return the content as one text."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise TextError(
            f"{where}: `content` is a {type(content).__name__}, not a text; mend or drop the row."
        )
    return "".join(_read_part(part, where) for part in content)


def _read_part(part: object, where: str) -> str:
    """Return the text of one part."""
    kind = part.get("type", "text") if isinstance(part, dict) else type(part).__name__
    text = part.get("text") if isinstance(part, dict) else None
    if kind not in _TEXT_PARTS or not isinstance(text, str):
        raise TextError(
            f"{where}: `content` has a part of type {kind!r}, and only parts of text can be read "
            '({"type": "text", "text": "…"}); drop the part, or the row.'
        )
    return text


def _read_calls(calls: object, where: str) -> list[Message]:
    """Return the calls of tools, with their arguments by name."""
    if not isinstance(calls, list) or not all(isinstance(call, dict) for call in calls):
        raise TextError(f"{where}: `tool_calls` is not a list of calls; mend or drop the row.")
    return [_parse_arguments(call) for call in calls]


def _parse_arguments(call: Message) -> Message:
    """Parse arguments that are JSON in a string, since templates read them by name."""
    function = call.get("function")
    if isinstance(function, dict) and isinstance(function.get("arguments"), str):
        try:
            arguments = json.loads(function["arguments"])
        except (ValueError, RecursionError):
            return call  # no JSON, so it is meant as a text
        if isinstance(arguments, dict):
            return call | {"function": function | {"arguments": arguments}}
    return call


def _read_tools(row: Mapping[str, object], where: str) -> list[Any] | None:
    """Return the functions that may be called, given as a list or as JSON in a string."""
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
    """Drop keys whose value is null: a table gives every row the keys of all rows."""
    if depth > _MAX_DEPTH:
        raise TextError(
            f"{where}: is nested deeper than {_MAX_DEPTH} levels; mend or drop the row."
        )
    if isinstance(value, dict):
        return {
            key: _without_nulls(inner, where, depth + 1)
            for key, inner in value.items()
            if inner is not None
        }
    if isinstance(value, list):
        return [_without_nulls(inner, where, depth + 1) for inner in value]
    return value


class _Rendering:
    """A conversation as a template writes it: whole, and up to any message."""

    def __init__(self, conversation: Conversation, template: ChatTemplate, where: str) -> None:
        self.where = where
        self.conversation = conversation
        self._template = template
        self._messages = conversation.messages
        self.text = self._render(len(self._messages))
        if conversation.ending not in self.text:  # some templates read parts, and no plain texts
            plain = self._messages, self.text
            self._messages = conversation.with_parts
            self.text = self._render(len(self._messages))
            if conversation.ending not in self.text:  # the template changes the text in both forms
                self._messages, self.text = plain

    def _render(self, count: int, *, add_generation_prompt: bool = False) -> str:
        return self._template.render(
            self._messages[:count],
            self.where,
            tools=self.conversation.tools,
            add_generation_prompt=add_generation_prompt,
        )

    def learned_spans(self) -> Iterator[tuple[int, int]]:
        """Yield where in the whole text each learned message begins and ends, in characters.

        Some templates write a message otherwise once others follow it (they drop earlier
        reasoning); such a message is not learned. The last one is always written the same.
        """
        found = False
        for index in self.conversation.learned:
            prompt = self._render(index, add_generation_prompt=True) if index else ""
            until = self._render(index + 1)
            if until.startswith(prompt) and self.text.startswith(until):
                found = True
                yield len(prompt), len(until)
        if not found:
            raise TextError(
                f"{self.where}: the model's chat template writes the assistant's turns so that "
                "they can't be told from the prompt; write the conversations out as `text`, or as "
                "`input_ids`."
            )


def _digest(conversation: Conversation) -> str:
    """Return the digest of the messages and tools, whatever a template makes of them."""
    content: Any = conversation.messages
    if conversation.tools is not None:
        content = {"messages": content, "tools": conversation.tools}
    canonical = json.dumps(content, sort_keys=True, ensure_ascii=False)
    return digest_bytes(canonical.encode(errors="surrogatepass"))


def _tokenise(rendering: _Rendering, tokenizer: PreTrainedTokenizerBase) -> tuple[Ids, TokenMask]:
    """Return the ids of the whole conversation, and which of them lie in a learned message."""
    encode_utf8(rendering.text, rendering.where)
    spans = list(rendering.learned_spans())
    refused = f"{rendering.where}: the model's tokenizer doesn't take this conversation"
    with library_errors(TextError, refused, "drop the row, or mend the tokenizer."):
        encoded = tokenizer(
            rendering.text, add_special_tokens=False, return_offsets_mapping=True, verbose=False
        )
    ids = np.array(encoded["input_ids"], dtype=np.int64)
    starts, ends = np.array(encoded["offset_mapping"], dtype=np.int64).reshape(-1, 2).T
    loss_mask = np.zeros(len(ids), dtype=np.bool_)
    for first, end in spans:
        loss_mask |= (starts < end) & (ends > first)
    return ids, loss_mask
