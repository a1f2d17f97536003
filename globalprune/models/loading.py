"""Load a model or a tokenizer to run it: any folder, Hub id or GGUF file, even or uneven.

A load succeeds whole or not at all: nothing is ever left at random weights. Uneven models are built
by this package's own classes, so that no code from a model's folder runs.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from transformers import (
    CONFIG_MAPPING,
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from globalprune.errors import CheckpointError
from globalprune.models import modeling_globalprune
from globalprune.models.adapters import merge_adapter
from globalprune.models.checkpoints.adapter_checkpoint import AdapterCheckpoint
from globalprune.models.checkpoints.gguf_families import refuse_lost
from globalprune.models.checkpoints.gguf_header import read_gguf_header
from globalprune.models.checkpoints.safetensors_checkpoint import SafetensorsCheckpoint
from globalprune.models.configs.uneven_config import is_uneven, pruned_class
from globalprune.models.quiet_transformers import quiet_transformers
from globalprune.models.refusals import REFUSALS
from globalprune.models.sources.source import ModelSource, resolve_model

_Loaded = tuple[PreTrainedModel, dict[str, Any]]  # the second says which tensors didn't fit
_SHOWN = 5  # tensors named in an error


def load_model(
    source: str | Path | ModelSource,
    *,
    dtype: torch.dtype | str | None = None,
    device: str = "cpu",
    trust_remote_code: bool = False,
) -> PreTrainedModel:
    """Load a causal language model in eval mode; raise `CheckpointError` unless every tensor fits.

    Without a `dtype` it is float32 on a CPU (and from GGUF), and the checkpoint's own elsewhere.
    `trust_remote_code` is for other people's models; ours never need it.
    """
    found = source if isinstance(source, ModelSource) else resolve_model(str(source))
    if dtype is None:
        dtype = torch.float32 if found.is_gguf or torch.device(device).type == "cpu" else "auto"
    options = {
        "dtype": dtype,
        "trust_remote_code": trust_remote_code,
        "output_loading_info": True,
        "ignore_mismatched_sizes": True,  # so that they are reported, and refused, by name
    }
    if found.is_gguf:
        refuse_lost(read_gguf_header(found.path), found.name)
    if found.adapter is not None:
        # refuses what doesn't fit, where peft would merge the rest of it
        AdapterCheckpoint.open(found, SafetensorsCheckpoint.open(found))
    load = _load_gguf if found.is_gguf else _load_folder
    with quiet_transformers(), _unreadable(found, "the model can't be loaded"):
        model, report = load(found, options)
    _refuse_gaps(found, report)
    if found.adapter is not None:
        model = merge_adapter(model, found.adapter)
    torch.nn.Module.to(model, device)
    model.eval()
    return model


def load_tokenizer(source: str | Path) -> PreTrainedTokenizerBase:
    """Load the tokenizer that lies with a model."""
    found = resolve_model(str(source))
    with quiet_transformers(), _unreadable(found, "it has no tokenizer that can be loaded"):
        if found.is_gguf:
            return _tokenizer(found.path.parent, gguf_file=str(found.path.absolute()))
        config = _raw_config(found)
        if not is_uneven(config):
            return _tokenizer(found.path)
        # transformers picks the class by the config, and would stop at one of uneven layers
        config.pop("per_layer_config", None)
        plain = CONFIG_MAPPING[config["model_type"]].from_dict(config)
        return _tokenizer(found.path, config=plain)


def _load_folder(found: ModelSource, options: dict[str, Any]) -> _Loaded:
    """Load a folder of safetensors; with the report of what did not fit."""
    config = _raw_config(found)
    model_class: Any = AutoModelForCausalLM
    if is_uneven(config):
        model_class = getattr(modeling_globalprune, pruned_class(config))
        options = options | {"trust_remote_code": False}
    model, report = model_class.from_pretrained(found.path, use_safetensors=True, **options)
    return model, report


def _load_gguf(found: ModelSource, options: dict[str, Any]) -> _Loaded:
    """Load a GGUF file as a plain model, one that `save_pretrained` writes like any other."""
    auto: Any = AutoModelForCausalLM
    file = str(found.path.absolute())  # a bare name would be looked for where gp was started first
    model, report = auto.from_pretrained(found.path.parent, gguf_file=file, **options)
    # the weights are no longer quantised, but the marks that transformers leaves say so
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    for mark in ("is_quantized", "hf_quantizer", "quantization_method"):
        vars(model).pop(mark, None)
    return model, report


def _tokenizer(folder: Path, **options: Any) -> PreTrainedTokenizerBase:
    """Load with transformers, running no code from the folder."""
    tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
        folder, trust_remote_code=False, **options
    )
    return tokenizer


def _raw_config(found: ModelSource) -> dict[str, Any]:
    """Read config.json as it stands."""
    config: dict[str, Any] = json.loads((found.path / "config.json").read_text())
    return config


def _refuse_gaps(found: ModelSource, report: dict[str, Any]) -> None:
    """Raise unless the checkpoint and the model hold the same tensors in the same shapes."""
    mismatched = [
        f"{name} is {list(stored)}, should be {list(expected)}"
        for name, stored, expected in report["mismatched_keys"]
    ]
    problems = {
        "missing": report["missing_keys"],
        "unexpected": report["unexpected_keys"],
        "of another shape": mismatched,
    }
    for kind, names in problems.items():
        if names:
            more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
            raise CheckpointError(
                f"{found.name}: {len(names)} tensors are {kind}: "
                f"{', '.join(sorted(names)[:_SHOWN])}{more}; "
                "config.json and the weights don't belong together: fetch or write them again."
            )


@contextmanager
def _unreadable(found: ModelSource, what: str) -> Iterator[None]:
    """Turn what a damaged or foreign folder makes transformers raise into one line of ours."""
    try:
        yield
    except torch.OutOfMemoryError:
        raise
    except REFUSALS as error:
        lines = str(error.__cause__ or error).strip().splitlines() or [""]
        raise CheckpointError(
            f"{found.name}: {what} ({type(error).__name__}: {lines[0]}); "
            "check that the folder is whole and of an architecture that transformers knows."
        ) from error
