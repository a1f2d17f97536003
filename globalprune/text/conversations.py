"""Rows of `messages` as text, and as token ids of which only what the assistant says is learned.

The model's own chat template writes a conversation down. Which characters are the assistant's is
found by writing its beginnings: what stands behind the prompt of a turn, up to the end of that
turn, is the turn's. So any template will do, marked with `{% generation %}` or not.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from transformers import PreTrainedTokenizerBase

from globalprune.artifacts.records import digest_bytes
from globalprune.errors import TextError, library_errors
from globalprune.text.chat_template import ChatTemplate
from globalprune.text.documents import Document, read_documents, utf8
from globalprune.text.messages import Dialogue, read_dialogue
from globalprune.text.rows import Column, Rows
from globalprune.text.token_rows import Mask
from globalprune.text.tokens import Ids


@dataclass(frozen=True)
class Conversation:
    """One conversation: its ids `[T]`, which of them the assistant says, and its digest."""

    ids: Ids
    trained: Mask
    digest: str


def read_texts(rows: Rows, tokenizer: PreTrainedTokenizerBase, name: str) -> Iterator[Document]:
    """The documents of rows; a conversation is one, as the model's template writes it."""
    if rows.column is not Column.MESSAGES:
        yield from read_documents(rows)
        return
    template = ChatTemplate(tokenizer, f"{name}: holds `messages`")
    for where, row in rows.values:
        dialogue = read_dialogue(row, where)
        text = _Script(dialogue, template, where).whole
        utf8(text, where)
        yield Document(text, _digest(dialogue))


def read_conversations(
    rows: Rows, tokenizer: PreTrainedTokenizerBase, name: str
) -> Iterator[Conversation]:
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
        yield Conversation(ids, trained, _digest(dialogue))


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


def _tokenised(script: _Script, tokenizer: PreTrainedTokenizerBase) -> tuple[Ids, Mask]:
    """The ids of the whole conversation, and which of them lie in a turn of the assistant's."""
    utf8(script.whole, script.where)
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
