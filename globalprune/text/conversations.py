"""Rows of `messages` as token ids, of which only what the assistant says is to be learned.

The model's own chat template writes a conversation down. Which characters are the assistant's is
found by writing its beginnings: what stands behind the prompt of a turn, up to the end of that
turn, is the turn's. So any template will do, marked with `{% generation %}` or not.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from jinja2 import TemplateError
from transformers import PreTrainedTokenizerBase

from globalprune.artifacts.provenance import digest_bytes
from globalprune.errors import TextError
from globalprune.text.rows import Rows
from globalprune.text.tokens import Ids

Mask = npt.NDArray[np.bool_]
Messages = list[dict[str, Any]]
# Llama 3's templates write the day unless they are told one; what is learned must not change by it
TEMPLATE_DATE = "26 Jul 2024"
_SHAPE = 'it should look like [{"role": "user", "content": "…"}, {"role": "assistant", …}].'


@dataclass(frozen=True)
class Conversation:
    """One conversation: its ids `[T]`, which of them the assistant says, and its digest."""

    ids: Ids
    trained: Mask
    digest: str


def read_conversations(rows: Rows, tokenizer: PreTrainedTokenizerBase) -> Iterator[Conversation]:
    """Write every conversation down; raise `TextError` for one that the template can't take."""
    if not tokenizer.is_fast:
        raise TextError(
            "conversations need a fast tokenizer (tokenizer.json), which tells where a token lies "
            "in the text; save the model's tokenizer as one, or give the text as `input_ids`."
        )
    for where, value in rows.values:
        messages = _checked(value, where)
        canonical = json.dumps(messages, sort_keys=True, ensure_ascii=False)
        ids, trained = _tokenised(messages, tokenizer, where)
        yield Conversation(ids, trained, digest_bytes(canonical.encode(errors="surrogatepass")))


def _checked(value: object, where: str) -> Messages:
    """The row, if it is a list of messages with at least one of the assistant's."""
    is_list = isinstance(value, list) and bool(value)
    if not is_list or not all(isinstance(turn, dict) and "role" in turn for turn in value):  # type: ignore[attr-defined]
        raise TextError(f"{where}: `messages` is not a list of messages; {_SHAPE}")
    # tables give every message every key that any of them has
    messages = [{k: v for k, v in turn.items() if v is not None} for turn in value]  # type: ignore[attr-defined]
    if not any(turn["role"] == "assistant" for turn in messages):
        raise TextError(
            f"{where}: no message is the assistant's, so there is nothing to learn; drop the row."
        )
    return messages


def _tokenised(
    messages: Messages, tokenizer: PreTrainedTokenizerBase, where: str
) -> tuple[Ids, Mask]:
    """The ids of the whole conversation, and which of them lie in a turn of the assistant's."""
    whole = _written(messages, tokenizer, where)
    spans = list(_assistant_spans(messages, whole, tokenizer, where))
    encoded = tokenizer(whole, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
    ids = np.array(encoded["input_ids"], dtype=np.int64)
    starts, ends = np.array(encoded["offset_mapping"], dtype=np.int64).reshape(-1, 2).T
    trained = np.zeros(len(ids), dtype=np.bool_)
    for first, end in spans:
        trained |= (starts < end) & (ends > first)
    return ids, trained


def _assistant_spans(
    messages: Messages, whole: str, tokenizer: PreTrainedTokenizerBase, where: str
) -> Iterator[tuple[int, int]]:
    """Where in the whole text each turn of the assistant's begins and ends.

    A template may write a turn otherwise once others follow (some drop earlier reasoning); such a
    turn is not learned. The last one always stands as it was written.
    """
    found = False
    for index, message in enumerate(messages):
        if message["role"] != "assistant":
            continue
        prompt = _written(messages[:index], tokenizer, where, prompting=True) if index else ""
        until = _written(messages[: index + 1], tokenizer, where)
        if until.startswith(prompt) and whole.startswith(until):
            found = True
            yield len(prompt), len(until)
    if not found:
        raise TextError(
            f"{where}: the model's chat template writes the assistant's turns so that they can't "
            "be told from the prompt; write the conversations out as `text`, or as `input_ids`."
        )


def _written(
    messages: Messages, tokenizer: PreTrainedTokenizerBase, where: str, *, prompting: bool = False
) -> str:
    """The conversation as the template writes it."""
    try:
        written = tokenizer.apply_chat_template(
            messages,
            tokenize=False,
            add_generation_prompt=prompting,
            date_string=TEMPLATE_DATE,
        )
    except (TemplateError, TypeError, KeyError, AttributeError) as error:
        raise TextError(
            f"{where}: the model's chat template doesn't take this conversation ({error}); "
            "mend or drop the row."
        ) from error
    return str(written)
