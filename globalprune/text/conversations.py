"""Conversations: messages with roles, read from rows and put through the chat template."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from transformers import PreTrainedTokenizerBase

from globalprune.artifacts.records import digest_bytes
from globalprune.errors import TextError, library_errors
from globalprune.text.chat_template import ChatTemplate
from globalprune.text.readers import TOOLS, Column, TextRows
from globalprune.text.token_rows import TokenMask
from globalprune.text.tokenization import Document, Ids, encode_utf8, read_documents

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


@dataclass(frozen=True)
class ConversationTokens:
    """One conversation: its ids `[T]`, which of them the assistant says, and its digest."""

    ids: Ids
    trained: TokenMask
    digest: str


def read_texts(rows: TextRows, tokenizer: PreTrainedTokenizerBase, name: str) -> Iterator[Document]:
    """The documents of rows; a conversation is one, as the model's template writes it."""
    if rows.column is not Column.MESSAGES:
        yield from read_documents(rows)
        return
    template = ChatTemplate(tokenizer, f"{name}: holds `messages`")
    for where, row in rows.values:
        dialogue = read_dialogue(row, where)
        text = _Script(dialogue, template, where).whole
        encode_utf8(text, where)
        yield Document(text, _digest(dialogue))


def tokenise_conversations(
    rows: TextRows, tokenizer: PreTrainedTokenizerBase, name: str
) -> Iterator[ConversationTokens]:
    """Write every conversation down; raise `TextError` for one that the template can't take."""
    template = ChatTemplate(tokenizer, f"{name}: holds `messages`")
    if not tokenizer.is_fast:
        raise TextError(
            "conversations need a fast tokenizer (tokenizer.json), which tells where a token lies "
            "in the text; save the model's tokenizer as one, or give the text as `input_ids`."
        )
    for where, row in rows.values:
        dialogue = read_dialogue(row, where)
        if not dialogue.learned:
            roles = ", ".join(sorted({message["role"] for message in dialogue.messages}))
            raise TextError(
                f"{where}: no message is the assistant's (found {roles}) and to be learned, so "
                "there is nothing to learn; drop the row."
            )
        script = _Script(dialogue, template, where)
        ids, trained = _tokenised(script, tokenizer)
        yield ConversationTokens(ids, trained, _digest(dialogue))


class _Script:
    """A dialogue as a template writes it, whole and in its beginnings."""

    def __init__(self, dialogue: Dialogue, template: ChatTemplate, where: str) -> None:
        self.where = where
        self.dialogue = dialogue
        self._template = template
        self._messages = dialogue.messages
        self.whole = self._write(len(self._messages))
        if dialogue.last_words not in self.whole:  # some templates read parts, and no plain texts
            plain = self._messages, self.whole
            self._messages = dialogue.in_parts
            self.whole = self._write(len(self._messages))
            if dialogue.last_words not in self.whole:  # written otherwise, by either
                self._messages, self.whole = plain

    def _write(self, count: int, *, prompting: bool = False) -> str:
        return self._template.write(
            self._messages[:count], self.where, tools=self.dialogue.tools, prompting=prompting
        )

    def assistant_spans(self) -> Iterator[tuple[int, int]]:
        """Where in the whole text each turn of the assistant's that is learned begins and ends.

        A template may write a turn otherwise once others follow (some drop earlier reasoning); such
        a turn is not learned. The last one always stands as it was written.
        """
        found = False
        for index in self.dialogue.learned:
            prompt = self._write(index, prompting=True) if index else ""
            until = self._write(index + 1)
            if until.startswith(prompt) and self.whole.startswith(until):
                found = True
                yield len(prompt), len(until)
        if not found:
            raise TextError(
                f"{self.where}: the model's chat template writes the assistant's turns so that "
                "they can't be told from the prompt; write the conversations out as `text`, or as "
                "`input_ids`."
            )


def _digest(dialogue: Dialogue) -> str:
    """The digest of what is said, however it is written down."""
    said: Any = dialogue.messages
    if dialogue.tools is not None:
        said = {"messages": said, "tools": dialogue.tools}
    canonical = json.dumps(said, sort_keys=True, ensure_ascii=False)
    return digest_bytes(canonical.encode(errors="surrogatepass"))


def _tokenised(script: _Script, tokenizer: PreTrainedTokenizerBase) -> tuple[Ids, TokenMask]:
    """The ids of the whole conversation, and which of them lie in a turn of the assistant's."""
    encode_utf8(script.whole, script.where)
    spans = list(script.assistant_spans())
    refused = f"{script.where}: the model's tokenizer doesn't take this conversation"
    with library_errors(TextError, refused, "drop the row, or mend the tokenizer."):
        encoded = tokenizer(
            script.whole, add_special_tokens=False, return_offsets_mapping=True, verbose=False
        )
    ids = np.array(encoded["input_ids"], dtype=np.int64)
    starts, ends = np.array(encoded["offset_mapping"], dtype=np.int64).reshape(-1, 2).T
    trained = np.zeros(len(ids), dtype=np.bool_)
    for first, end in spans:
        trained |= (starts < end) & (ends > first)
    return ids, trained
