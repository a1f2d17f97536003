"""Whatever is wrong with a tokenizer is one line that names the file."""

import importlib.util
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tiny_models import save_tiny

from globalprune.errors import CheckpointError
from globalprune.models.tokenizer import load_tokenizer

SENTENCEPIECE = b"\x0a\x0e\x0a\x05<unk>\x15\x00\x00\x00\x00\x18\x02"
Damage = Callable[[Path], object]


def without_vocabulary(folder: Path) -> None:
    """A class of transformers would be built of three tokens, without a word."""
    (folder / "tokenizer.json").unlink()
    settings = {"tokenizer_class": "LlamaTokenizer", "bos_token": "<s>", "eos_token": "</s>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))


def with_only(name: str, content: bytes) -> Damage:
    """Another vocabulary in place of tokenizer.json."""

    def damage(folder: Path) -> None:
        without_vocabulary(folder)
        (folder / name).write_bytes(content)

    return damage


def edited(name: str, **changes: Any) -> Damage:
    """Other values in one of the JSON files."""

    def damage(folder: Path) -> None:
        content = json.loads((folder / name).read_text())
        (folder / name).write_text(json.dumps(content | changes))

    return damage


def written(name: str, content: bytes) -> Damage:
    """Other bytes in place of one of the files."""
    return lambda folder: (folder / name).write_bytes(content)


def a_pipe(folder: Path) -> None:
    """A named pipe, on which reading would wait for ever."""
    (folder / "tokenizer.json").unlink()
    os.mkfifo(folder / "tokenizer.json")


DAMAGES: dict[str, tuple[Damage, str]] = {
    "no vocabulary": (without_vocabulary, "holds no vocabulary"),
    "sentencepiece": (
        with_only("tokenizer.model", SENTENCEPIECE),
        r"tokenizer\.model: is a vocabulary of sentencepiece.*pip install sentencepiece",
    ),
    "tiktoken": (with_only("tokenizer.model", b"IQ== 0\n"), r"tokenizer\.model.* of tiktoken"),
    "merges": (with_only("vocab.json", b'{"a": 0, "b":'), r"vocab\.json: can't be read"),
    "pipe": (a_pipe, r"tokenizer\.json: is no file"),
    "cut off": (written("tokenizer.json", b'{"model": {"ty'), r"tokenizer\.json: can't be read"),
    "a list": (written("tokenizer.json", b"[]"), r"tokenizer\.json: holds no JSON object"),
    "nested": (written("tokenizer_config.json", b"[" * 10**5), r"_config\.json: can't be read"),
    "merged": (edited("tokenizer.json", model={"type": "none"}), r"tokenizer\.json: is no tok"),
    "said aloud": (  # tokenizers prints what it doesn't know, to stdout
        edited("tokenizer_config.json", bos_token={"__type": "AddedToken", "content": 5, "a": 1}),
        r"tokenizer_config\.json",
    ),
    "panic": (
        edited(
            "tokenizer.json",
            normalizer={"type": "Replace", "pattern": {"Regex": ""}, "content": "x"},
        ),
        r"tokenizer\.json, tokenizer_config\.json \(PanicException",
    ),
    "class": (edited("tokenizer_config.json", tokenizer_class=5), r"tokenizer_config\.json"),
    "model class": (
        edited("tokenizer_config.json", tokenizer_class="AutoModelForCausalLM"),
        "names LlamaForCausalLM, no tokenizer",
    ),
    "code": (
        edited(
            "tokenizer_config.json",
            auto_map={"AutoTokenizer": ["own.Own", None]},
            tokenizer_class="Own",
        ),
        r"tokenizer_config\.json: its auto_map asks for code",
    ),
    "token": (edited("tokenizer_config.json", bos_token=5), "bos_token"),
    "length": (edited("tokenizer_config.json", model_max_length="x"), r"tokenizer_config\.json"),
    "map": (written("special_tokens_map.json", b"{"), r"special_tokens_map\.json: can't be read"),
    "template": (written("chat_template.jinja", b"\xff"), r"chat_template\.jinja: can't be read"),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_the_file_at_fault_is_named(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Each damage is one line that names its file, and nothing else reaches the terminal."""
    damage, told = DAMAGES[name]
    folder = save_tiny(tmp_path, "llama")
    damage(folder)
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    capfd.readouterr()

    with pytest.raises(CheckpointError, match=told) as refused:
        load_tokenizer(folder)

    assert "\n" not in str(refused.value)
    assert capfd.readouterr() == ("", "")
