"""The files that belong to a model beside its weights: which ones travel, and how.

An allow-list: code, other weights and whatever else lies in a folder stay behind.
"""

import json
import shutil
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

# names are compared in lower case; licence texts come in every spelling
PATTERNS = (
    "tokenizer*",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.*",
    "*-vocab.json",  # as tokenizers saves one by itself
    "merges.txt",
    "*-merges.txt",
    "*.model",
    "*.model.v[0-9]*",  # Mistral's: tokenizer.model.v3
    "*.tiktoken",
    "tekken.json",
    "spiece*",
    "sentencepiece*",
    "bpe.codes",
    "normalizer.json",
    "chat_template*",
    "chat_templates/*.jinja",
    "additional_chat_templates/*.jinja",
    "generation_config.json",
    "preprocessor_config.json",
    "processor_config.json",
    "system_prompt*",
    "license*",
    "licence*",
    "notice*",
    "use_policy*",
    "*acceptable_use_policy*",
    "copying*",
    "copyright*",
)  # not Mistral's params.json, which tells the sizes of the whole model
TEMPLATE_FOLDERS = ("chat_templates", "additional_chat_templates")
_FORBIDDEN_SUFFIXES = (
    ".py",
    ".pyc",
    ".pkl",
    ".pickle",
    ".bin",
    ".pt",
    ".pth",
    ".so",
    ".gguf",
    ".safetensors",
)
_GENERATION_KEYS = ("bos_token_id", "eos_token_id", "pad_token_id")


def companions_of(folder: Path | None) -> tuple[str, ...]:
    """Name, in order, the files of a model's folder that travel with it."""
    if folder is None:
        return ()
    return tuple(sorted(_travelling(folder)))


def copy_companion(folder: Path, name: str, out: Path) -> None:
    """Copy one of them; what is a link in a cache becomes a file."""
    target = out / name
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(folder / name, target)


def write_generation_config(config: dict[str, Any], out: Path) -> None:
    """Write the generation config that a GGUF file has no place for: its special tokens."""
    known = {key: config[key] for key in _GENERATION_KEYS if config.get(key) is not None}
    text = json.dumps({"_from_model_config": True, **known}, indent=2) + "\n"
    (out / "generation_config.json").write_text(text, encoding="utf-8")


def _travelling(folder: Path) -> Iterator[str]:
    """Yield the names of files in the folder that the allow-list knows."""
    for pattern in ("*", *(f"{folder}/*" for folder in TEMPLATE_FOLDERS)):
        for path in folder.glob(pattern):
            name = path.relative_to(folder).as_posix()
            wanted = any(fnmatchcase(name.lower(), known) for known in PATTERNS)
            if wanted and path.is_file() and path.suffix.lower() not in _FORBIDDEN_SUFFIXES:
                yield name
