"""Where a model may be written, and which auxiliary files travel with it."""

import json
import shutil
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Final

from globalprune.artifacts.disk import refuse_inside_model, refuse_occupied
from globalprune.artifacts.formatting import first_few
from globalprune.artifacts.own_files import ORIGIN_FILE, foreign_files
from globalprune.artifacts.records import RECORDS_FOLDER
from globalprune.artifacts.results.finetuning import FINETUNE_FILE
from globalprune.errors import UsageError
from globalprune.models.sources.source import ModelSource

# Names are compared in lower case; licence texts come in every spelling.
AUXILIARY_PATTERNS: Final = (
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
)  # not Mistral's params.json, which has the sizes of the whole model
TEMPLATE_FOLDERS: Final = ("chat_templates", "additional_chat_templates")
_FORBIDDEN_SUFFIXES: Final = (
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
_GENERATION_KEYS: Final = ("bos_token_id", "eos_token_id", "pad_token_id")
# These mark a result as ours; the folder alone may be anything, a checkout of this project too.
OWN_RECORDS: Final = (f"{RECORDS_FOLDER}/{ORIGIN_FILE}", f"{RECORDS_FOLDER}/{FINETUNE_FILE}")
_WRITTEN: Final = (
    RECORDS_FOLDER,
    "config.json",
    "readme.md",
    "model*.safetensors",
    "model.safetensors.index.json",
    "modeling_globalprune.py",
    "adapter_config.json",
    "adapter_model.safetensors",
    *TEMPLATE_FOLDERS,
    "__pycache__",
)


def list_auxiliary_files(folder: Path | None) -> tuple[str, ...]:
    """List, sorted, the files of a model's folder that travel with the model."""
    if folder is None:
        return ()
    return tuple(sorted(_auxiliary_files(folder)))


def copy_auxiliary_file(folder: Path, name: str, out: Path) -> None:
    """Copy one auxiliary file; a link into a cache becomes a file."""
    target = out / name
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(folder / name, target)


def write_generation_config(config: dict[str, Any], out: Path) -> None:
    """Write the generation config that a GGUF file can't hold: its special tokens."""
    special = {key: config[key] for key in _GENERATION_KEYS if config.get(key) is not None}
    text = json.dumps({"_from_model_config": True, **special}, indent=2) + "\n"
    (out / "generation_config.json").write_text(text, encoding="utf-8")


def records_folder(source: ModelSource) -> Path:
    """Return the folder of a model's records, which may not exist."""
    return (source.adapter or source.path) / RECORDS_FOLDER


def refuse_unsafe_output(
    out: Path, inputs: Sequence[ModelSource], *, needed_bytes: int, overwrite: bool
) -> None:
    """Raise `UsageError` unless a model made from `inputs` can be written to `out` without harm."""
    for source in inputs:
        for folder in filter(None, (source.path, source.adapter)):
            _refuse_overlap(out, folder.resolve())
    refuse_occupied(out, ours=OWN_RECORDS, overwrite=overwrite)
    refuse_foreign_files(out)
    _refuse_small_disk(out.absolute(), needed_bytes)


def refuse_foreign_files(out: Path) -> None:
    """Raise `UsageError` if a folder that may be replaced holds files that gp didn't write."""
    entries = out.iterdir() if out.is_dir() else ()
    foreign = sorted(entry.name for entry in entries if not _is_written_by_us(entry.name))
    own = out / RECORDS_FOLDER
    foreign += [f"{RECORDS_FOLDER}/{name}" for name in (foreign_files(own) if own.is_dir() else ())]
    if foreign:
        raise UsageError(
            f"{out}: holds what globalprune didn't write ({first_few(foreign)}), which --overwrite "
            "would delete; move it away, or choose another folder."
        )


def _auxiliary_files(folder: Path) -> Iterator[str]:
    """Yield the names of files in the folder that match the allow-list."""
    for pattern in ("*", *(f"{folder}/*" for folder in TEMPLATE_FOLDERS)):
        for path in folder.glob(pattern):
            name = path.relative_to(folder).as_posix()
            allowed = any(fnmatchcase(name.lower(), known) for known in AUXILIARY_PATTERNS)
            if allowed and path.is_file() and path.suffix.lower() not in _FORBIDDEN_SUFFIXES:
                yield name


def _refuse_overlap(out: Path, model: Path) -> None:
    """Raise `UsageError` if writing to `out` would write into the model, or replace it."""
    target = out.resolve()
    if target == model:
        raise UsageError(f"{out}: is the model itself; choose another folder with -o.")
    refuse_inside_model(out, model)
    if model.is_relative_to(target):
        raise UsageError(f"{out}: holds the model {model}; choose another folder with -o.")


def _is_written_by_us(name: str) -> bool:
    """Whether a result has such a file or folder."""
    return any(fnmatchcase(name.lower(), pattern) for pattern in (*_WRITTEN, *AUXILIARY_PATTERNS))


def _refuse_small_disk(out: Path, needed: int) -> None:
    """Raise `UsageError` if the disk has less room than the result takes."""
    existing = next(folder for folder in (out, *out.parents) if folder.exists())
    free = shutil.disk_usage(existing).free
    if free < needed:
        raise UsageError(
            f"{out}: the result takes {needed / 1e9:.2f} GB and {free / 1e9:.2f} GB are free; "
            "make room or choose another disk with -o."
        )
