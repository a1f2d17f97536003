"""Tokenizers of every kind that can be exported, trained on a few words, and texts to try."""

from pathlib import Path
from typing import Any

from export_models import save_cut
from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)
from transformers import LlamaTokenizer, PreTrainedTokenizerFast
from transformers.convert_slow_tokenizer import generate_merges

from globalprune.export.tokenizer import BYTES, DIGITS, WORDS_OF_BYTES, Steps

ROWS = 1000  # of the embedding: more than any of them has tokens
SAMPLE_TEXTS = (
    "The year 2026 has 365 days, and 12 months; it's what we'll call a year. I'VE they'Re don't",
    "Übung macht den Meister, naïve café, 東京 and Ελλάδα: 3.14159\n\n\tindented\n   \n",
    "def f(x):\n    return x + 1\r\n\r\n  # two  spaces   three 1234567 ₂₃ ①",
    "a😀b  \u00a0c d’accord مرحبا עולם ﬁ __init__ http://a.b/c?d=e&f=1",
    "trail ",
    "CamelCaseWORDSlowerUPPERLower iPhone McDonald HTTPServer",
    "mid <|tool|>x<|tool|> y [X] z </s>",
    "\n",
)
CAPITALS = "İSTANBUL, ÉCOLE and ΑΘΗΝΑ"  # which llama.cpp tells from other letters by A to Z alone
WITH_SPACE = (" lead", "   ")  # to which SentencePiece gave one more


def byte_level_tokenizer(
    steps: Steps, *, ignore_merges: bool, bos: bool = False
) -> PreTrainedTokenizerFast:
    """One that cuts text by these steps; with `bos`, text begins with `<s>`."""
    tokenizer = Tokenizer(models.BPE(ignore_merges=ignore_merges))
    tokenizer.pre_tokenizer = _cutting(steps)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=ROWS - 100,
        min_frequency=1,
        special_tokens=["<s>", "</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator((*SAMPLE_TEXTS[:6], CAPITALS), trainer)
    return _finished(tokenizer, bos=bos)


def sentencepiece_tokenizer(*, older: bool = True, bos: bool = True) -> PreTrainedTokenizerFast:
    """As Llama 2's: `older` is how it lies on the Hub, else how transformers 5 builds it."""
    vocabulary, merges = _pieces()
    if not older:
        made = LlamaTokenizer(vocab=vocabulary, merges=merges)
        _add_tokens(made)
        return made
    model = models.BPE(
        vocab=vocabulary, merges=merges, fuse_unk=True, byte_fallback=True, unk_token="<unk>"
    )
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    return _finished(tokenizer, bos=bos, unk_token="<unk>")


def save_with_tokenizer(folder: Path, tokenizer: Any) -> Path:
    """A model's folder with this tokenizer."""
    save_cut(folder, vocab_size=ROWS)
    for file in (*folder.glob("tokenizer*"), *folder.glob("special*")):
        file.unlink()
    tokenizer.save_pretrained(folder)
    return folder


def _cutting(steps: Steps) -> Any:
    parts: list[Any] = []
    for step in steps:
        if step in (BYTES, WORDS_OF_BYTES):
            by_words = step == WORDS_OF_BYTES
            parts.append(pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=by_words))
        elif step == DIGITS:
            parts.append(pre_tokenizers.Digits(individual_digits=True))
        else:
            parts.append(pre_tokenizers.Split(Regex(step), "isolated"))
    return parts[0] if len(parts) == 1 else pre_tokenizers.Sequence(parts)


def _pieces() -> tuple[dict[str, int], list[tuple[str, str]]]:
    """A vocabulary as SentencePiece orders it: special, bytes, pieces by score, characters."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    trainer = trainers.BpeTrainer(vocab_size=600, min_frequency=1, show_progress=False)
    tokenizer.train_from_iterator((*SAMPLE_TEXTS[:6], CAPITALS), trainer)
    found = sorted(tokenizer.get_vocab().items(), key=lambda pair: pair[1])
    pieces = [text for text, _ in found if len(text) > 1] + [t for t, _ in found if len(t) == 1]
    tokens = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), *pieces]
    scores = {text: -float(place) for place, text in enumerate(pieces)}
    vocabulary = {text: index for index, text in enumerate(tokens)}
    merges: list[tuple[str, str]] = generate_merges(vocabulary, scores)
    return vocabulary, merges


def _finished(tokenizer: Tokenizer, *, bos: bool, **special: str) -> PreTrainedTokenizerFast:
    if bos:
        tokenizer.post_processor = processors.TemplateProcessing(
            single="<s> $A",
            pair="<s> $A <s> $B",
            special_tokens=[("<s>", tokenizer.token_to_id("<s>"))],
        )
    made = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", **special
    )
    _add_tokens(made)
    return made


def _add_tokens(made: Any) -> None:
    """One that is special and one that is text."""
    made.add_tokens([AddedToken("<|tool|>", special=True, normalized=False)])
    made.add_tokens([AddedToken("[X]", normalized=False)])
    made.chat_template = "{% for message in messages %}{{ message.content }}{% endfor %}"
