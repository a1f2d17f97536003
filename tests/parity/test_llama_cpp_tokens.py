"""The real llama.cpp cuts text into the tokens that transformers does, by what we wrote of them."""

from pathlib import Path
from typing import Any

import gguf
import pytest
from export_models import export_folder
from export_tokenizers import (
    CAPITALS,
    SAMPLE_TEXTS,
    WITH_SPACE,
    byte_level_tokenizer,
    save_with_tokenizer,
    sentencepiece_tokenizer,
)
from llama_cpp import LlamaCpp

from globalprune.export.exporter import export_gguf
from globalprune.export.tokenizer import PRE_TOKENIZERS, Steps
from globalprune.models.tokenizer import load_tokenizer


def differing(file: Path, folder: Path, texts: tuple[str, ...]) -> list[str]:
    """The texts that become other tokens."""
    runtime, tokenizer = LlamaCpp(file), load_tokenizer(folder)
    return [text for text in texts if runtime.tokens_of(text) != tokenizer(text).input_ids]


@pytest.mark.parametrize("bos", [False, True])
@pytest.mark.parametrize("known", PRE_TOKENIZERS, ids=PRE_TOKENIZERS.values())
def test_byte_level_tokenizers(tmp_path: Path, known: tuple[Steps, bool], bos: bool) -> None:
    """Digits, newlines, scripts, symbols, special tokens, and whether `<s>` goes before text."""
    steps, ignore_merges = known
    tokenizer = byte_level_tokenizer(steps, ignore_merges=ignore_merges, bos=bos)
    folder = save_with_tokenizer(tmp_path / "model", tokenizer)

    found = differing(export_folder(folder).path, folder, (*SAMPLE_TEXTS, *WITH_SPACE, CAPITALS))
    assert found == ([CAPITALS] if PRE_TOKENIZERS[known] == "tekken" else [])


def test_another_name_would_cut_otherwise(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the test above would prove nothing of the names."""
    steps, ignore_merges = known = next(
        key for key in PRE_TOKENIZERS if PRE_TOKENIZERS[key] == "llama-bpe"
    )
    monkeypatch.setitem(PRE_TOKENIZERS, known, "qwen2")
    tokenizer = byte_level_tokenizer(steps, ignore_merges=ignore_merges)
    folder = save_with_tokenizer(tmp_path / "model", tokenizer)

    assert SAMPLE_TEXTS[0] in differing(export_folder(folder).path, folder, SAMPLE_TEXTS)


@pytest.mark.parametrize("bos", [False, True])
def test_sentencepiece_as_it_lies_on_the_hub(tmp_path: Path, bos: bool) -> None:
    """Bytes for what no piece has, and the space before text."""
    folder = save_with_tokenizer(tmp_path / "model", sentencepiece_tokenizer(bos=bos))

    assert differing(export_folder(folder).path, folder, (*SAMPLE_TEXTS, *WITH_SPACE)) == []


def test_sentencepiece_as_transformers_builds_it(tmp_path: Path) -> None:
    """Of text that begins with a space transformers makes other tokens than SentencePiece."""
    folder = save_with_tokenizer(tmp_path / "model", sentencepiece_tokenizer(older=False))
    done = export_folder(folder)
    plain = tuple(text for text in SAMPLE_TEXTS if "<|tool|>" not in text)

    assert differing(done.path, folder, plain) == []
    assert differing(done.path, folder, WITH_SPACE) == list(WITH_SPACE)
    assert any("even if it begins with one" in note for note in done.warnings)


def test_a_donor_lends_its_tokenizer(tmp_path: Path) -> None:
    """Every key of it, for a model whose own tokenizer has no form."""
    steps, ignore_merges = next(iter(PRE_TOKENIZERS))
    tokenizer: Any = byte_level_tokenizer(steps, ignore_merges=ignore_merges, bos=True)
    lender = save_with_tokenizer(tmp_path / "lender", tokenizer)
    donor = export_folder(lender).path
    folder = save_with_tokenizer(tmp_path / "model", tokenizer)
    (folder / "tokenizer.json").unlink()
    done = export_gguf(str(folder), tmp_path / "out.gguf", donor=donor)
    fields = [
        {
            key: (field.types, field.contents())
            for key, field in gguf.GGUFReader(file).fields.items()
            if key.startswith("tokenizer.")
        }
        for file in (donor, done.path)
    ]

    assert differing(done.path, lender, SAMPLE_TEXTS) == []
    assert fields[0] == fields[1]
    assert "tokenizer.chat_template" in fields[0]
