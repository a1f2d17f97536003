"""Writes what was trained as a model folder: the base's own files, with the trained values in them.

Names, shapes and dtypes stay those of the checkpoint that went in, so whatever read that reads
this. The config is copied byte for byte, unless the folder means something else by it.
"""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import torch

from globalprune.artifacts.records import OWN_FOLDER
from globalprune.errors import NonFiniteError, VerificationFailed
from globalprune.models import modeling_globalprune
from globalprune.models.checkpoints.checkpoint import Checkpoint
from globalprune.models.checkpoints.lora_checkpoint import ADAPTER_WEIGHTS
from globalprune.models.checkpoints.open import open_checkpoint
from globalprune.models.checkpoints.output_folder import companions_of, copy_companion, records_of
from globalprune.models.checkpoints.shard_writer import ShardWriter
from globalprune.models.configs.config import write_config
from globalprune.models.configs.pruned_config import MODELING_FILE, is_uneven
from globalprune.models.sources.hub import ADAPTER_CONFIG
from globalprune.models.sources.source import ModelSource

DTYPES = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
Reader = Callable[[str], torch.Tensor]


def write_model(base: Checkpoint, read: Reader, folder: Path) -> None:
    """Write every tensor of `base` with the value that `read` gives, and all that lies beside."""
    writer = ShardWriter(folder, {name: info.bytes for name, info in base.tensors.items()})
    for name, info in base.tensors.items():
        value = read(name).to(DTYPES[info.dtype]).contiguous()
        if value.shape != info.shape:
            raise VerificationFailed(
                f"{name}: was trained as {list(value.shape)}, and should be {list(info.shape)}; "
                "this is a fault of globalprune, please report it."
            )
        if not value.isfinite().all():
            raise NonFiniteError(
                f"{name}: is not finite in {info.dtype} after training; say a smaller --lr."
            )
        writer.put(name, value)
    writer.finish()
    write_config(base.config, base.source.path, folder)
    if is_uneven(base.config):
        shutil.copyfile(Path(modeling_globalprune.__file__), folder / f"{MODELING_FILE}.py")
    copy_companions(base, folder)


def write_adapter(base: Checkpoint, trained: Path, folder: Path) -> None:
    """Copy the adapter by itself, which names its base, and the tokenizer for whoever loads it."""
    shutil.copyfile(trained / ADAPTER_WEIGHTS, folder / ADAPTER_WEIGHTS)
    config = json.loads((trained / ADAPTER_CONFIG).read_text(encoding="utf-8"))
    source = base.source
    on_hub = source.revision is not None
    config["base_model_name_or_path"] = (
        source.name.partition("@")[0] if on_hub else str(source.path.resolve())
    )
    config["revision"] = source.revision
    text = json.dumps(config, indent=2, sort_keys=True) + "\n"
    (folder / ADAPTER_CONFIG).write_text(text, encoding="utf-8")
    copy_companions(base, folder)


def copy_companions(base: Checkpoint, folder: Path) -> None:
    """Copy the tokenizer, the licence and the like."""
    if base.companions is not None:
        for name in companions_of(base.companions):
            copy_companion(base.companions, name, folder)


def copy_records(base: Checkpoint, folder: Path) -> None:
    """Take along what is known of the cut: plan, origin, analysis, logs.

    An evaluation stays behind: it is of other weights.
    """
    records = records_of(base.source)
    if records.is_dir():
        others = shutil.ignore_patterns("evaluation.*")
        shutil.copytree(records, folder / OWN_FOLDER, ignore=others)
    else:
        (folder / OWN_FOLDER).mkdir()


def reader_of_folder(folder: Path) -> Reader:
    """Read from a folder that Trainer saved a model into."""
    return open_checkpoint(ModelSource(str(folder), folder)).read
