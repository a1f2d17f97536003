"""A model's tokenizer: loaded, digested, and refused with the file at fault.

transformers reports an error without the file, and where the vocabulary is missing it silently
builds a tokenizer of three tokens.
"""

import importlib.util
import json
from collections.abc import Iterator
from contextlib import contextmanager
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Final

from tokenizers import Tokenizer
from transformers import CONFIG_MAPPING, AutoTokenizer, PretrainedConfig, PreTrainedTokenizerBase

from globalprune.artifacts.records import digest_json
from globalprune.errors import CheckpointError, library_errors
from globalprune.models.checkpoints.identity import file_digests
from globalprune.models.configs.class_config import class_config
from globalprune.models.configs.config import read_config
from globalprune.models.quiet import quiet_rust, quiet_transformers
from globalprune.models.sources.hub import CONFIG_FILE
from globalprune.models.sources.source import ModelSource, resolve_model

_VOCABULARIES: Final = (
    "tokenizer.json",
    "vocab.*",
    "*.model",
    "*.model.v*",
    "tekken.json",
    "*.tiktoken",
)
_OTHER_FILES: Final = (
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "merges.txt",
    "chat_template.*",
    "additional_chat_templates/*",
)
_MODEL_KEYS: Final = ("per_layer_config", "auto_map")  # keys that no tokenizer needs
_SAVE_AGAIN: Final = "download or save the tokenizer again."
_MAKE_GGUF_AGAIN: Final = "download or make the .gguf file again."
_SAMPLE: Final = "The year 2026: naïve café, 東京!\n"
_SENTENCEPIECE_MARK: Final = b"\x0a"  # the first field of its protobuf; tiktoken's files are text


def load_tokenizer(source: str | Path) -> PreTrainedTokenizerBase:
    """Load a model's tokenizer; raise `CheckpointError` with the file at fault."""
    model_source = resolve_model(str(source))
    if model_source.is_gguf:
        where = f"{model_source.name}: its tokenizer can't be read"
        with quiet_transformers(), library_errors(CheckpointError, where, _MAKE_GGUF_AGAIN):
            path = model_source.path
            return _load_tokenizer(path.parent, gguf_file=str(path.absolute()))
    config = _tokenizer_config(model_source)
    files = _tokenizer_files(model_source.path)
    with quiet_transformers(), _tokenizer_errors(model_source.name, files):
        tokenizer = _load_tokenizer(model_source.path, config=config)
    return _checked(tokenizer, model_source.name, files)


def _tokenizer_files(folder: Path) -> tuple[Path, ...]:
    """Return the files that a tokenizer is made of.

    Raise `CheckpointError` where there is no vocabulary, where a pipe or a device is in the place
    of a file, and where the vocabulary needs a package that isn't installed.
    """
    paths = (*folder.glob("*"), *folder.glob("additional_chat_templates/*"))
    names = {path.relative_to(folder).as_posix(): path for path in sorted(paths)}
    vocabularies = [name for name in names if _matches(name, _VOCABULARIES)]
    files = tuple(
        path for name, path in names.items() if _matches(name, _VOCABULARIES + _OTHER_FILES)
    )
    for path in files:
        if not path.is_file():
            raise CheckpointError(f"{path}: is no file that can be read; {_SAVE_AGAIN}")
    if not vocabularies:
        raise CheckpointError(
            f"{folder}: holds no vocabulary of a tokenizer (tokenizer.json, or tokenizer.model); "
            "fetch it from where the model comes from, or give the text as `input_ids`."
        )
    if "tokenizer.json" not in names:
        _refuse_missing_package(names[vocabularies[0]])
    return files


def tokenizer_digest(folder: Path) -> str:
    """`sha256:…` of all that decides how a model's tokenizer cuts text.

    That is its files, and the keys of config.json by which transformers picks its class. Raise
    `CheckpointError` where there is no tokenizer.
    """
    files = _tokenizer_files(folder)
    config = read_config(folder / CONFIG_FILE)
    named = [path.relative_to(folder).as_posix() for path in files]
    return digest_json(
        {
            "files": dict(zip(named, file_digests(files), strict=True)),
            "class": [config.get(key) for key in ("model_type", "tokenizer_class")],
        }
    )


def _tokenizer_config(source: ModelSource) -> PretrainedConfig:
    """Return the config by which transformers chooses the tokenizer's class.

    It has no uneven layers, at which transformers would fail, and asks for no code of the folder.
    """
    config = read_config(source.path / CONFIG_FILE)
    plain = {key: value for key, value in config.items() if key not in _MODEL_KEYS}
    model_type = plain.get("model_type")
    if isinstance(model_type, str) and model_type in CONFIG_MAPPING:
        return class_config(plain, source.path)
    named = plain.get("tokenizer_class")
    return PretrainedConfig.from_dict(
        {"tokenizer_class": named if isinstance(named, str) else None}
    )


def _load_tokenizer(folder: Path, **options: Any) -> PreTrainedTokenizerBase:
    """Load with transformers, without running code from the folder."""
    tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
        folder, trust_remote_code=False, **options
    )
    return tokenizer


@contextmanager
def _tokenizer_errors(where: str, files: tuple[Path, ...]) -> Iterator[None]:
    """Raise `CheckpointError` with the file at fault where the tokenizer can't be loaded."""
    names = ", ".join(path.name for path in files)
    refused = f"{where}: no tokenizer can be made of {names}"
    try:
        with quiet_rust(), library_errors(CheckpointError, refused, _SAVE_AGAIN):
            yield
    except CheckpointError:
        for path in files:
            _refuse_damaged(path)
            _refuse_code(path)
        raise


def _checked(tokenizer: object, where: str, files: tuple[Path, ...]) -> PreTrainedTokenizerBase:
    """Return the tokenizer; raise `CheckpointError` unless it is one and encodes a short text."""
    if not isinstance(tokenizer, PreTrainedTokenizerBase):
        raise CheckpointError(
            f"{where}: tokenizer_class in tokenizer_config.json names "
            f"{type(tokenizer).__name__}, no tokenizer; {_SAVE_AGAIN}"
        )
    with _tokenizer_errors(where, files):
        encoded: Any = tokenizer([_SAMPLE], add_special_tokens=True, verbose=False)
        if not encoded["input_ids"][0]:
            names = ", ".join(path.name for path in files)
            raise CheckpointError(f"{where}: {names} give no token for {_SAMPLE!r}; {_SAVE_AGAIN}")
    return tokenizer


def _matches(name: str, patterns: tuple[str, ...]) -> bool:
    """Whether the name matches one of the patterns."""
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def _refuse_missing_package(path: Path) -> None:
    """Raise `CheckpointError` for a vocabulary whose package isn't installed."""
    if ".model" not in path.name:
        return
    with path.open("rb") as file:
        is_sentencepiece = file.read(1) == _SENTENCEPIECE_MARK
    package = "sentencepiece" if is_sentencepiece else "tiktoken"
    if importlib.util.find_spec(package) is None:
        raise CheckpointError(
            f"{path}: is a vocabulary of {package}, and there is no tokenizer.json beside it; "
            f"install what reads it (pip install {package} protobuf), or save the tokenizer as "
            "tokenizer.json where it is installed (AutoTokenizer…save_pretrained)."
        )


def _refuse_damaged(path: Path) -> None:
    """Raise `CheckpointError` for a file that can't be parsed."""
    try:
        if path.suffix == ".json":
            content = json.loads(path.read_text(encoding="utf-8"))
            if not isinstance(content, dict):
                raise CheckpointError(f"{path}: holds no JSON object; {_SAVE_AGAIN}")
        elif path.suffix in (".jinja", ".txt"):
            path.read_text(encoding="utf-8")
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: can't be read ({error}); {_SAVE_AGAIN}") from error
    if path.name == "tokenizer.json":
        with quiet_rust(), library_errors(CheckpointError, f"{path}: is no tokenizer", _SAVE_AGAIN):
            Tokenizer.from_file(str(path))


def _refuse_code(path: Path) -> None:
    """Raise `CheckpointError` for a tokenizer_config.json that asks for code of the folder."""
    if path.name == "tokenizer_config.json" and json.loads(path.read_text()).get("auto_map"):
        raise CheckpointError(
            f"{path}: its auto_map asks for code that lies with the model, which is never run for "
            "a tokenizer; give the text as `input_ids`, or save the tokenizer as tokenizer.json."
        )
