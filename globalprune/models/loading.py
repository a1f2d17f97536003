"""Loads a checkpoint as a torch model.

Fused experts can be split into one module for each, so that every expert has hooks and weights of
its own.
"""

from pathlib import Path
from typing import Any, Final

import torch
from torch import nn
from transformers import (
    GenerationConfig,
    PreTrainedModel,
)
from transformers.dynamic_module_utils import get_class_from_dynamic_module

from globalprune.errors import CheckpointError, ModelError, library_errors
from globalprune.models.checkpoints.checkpoint import Checkpoint
from globalprune.models.checkpoints.gguf_checkpoint import load_gguf
from globalprune.models.checkpoints.lora_checkpoint import LoraCheckpoint
from globalprune.models.checkpoints.open import open_folder
from globalprune.models.checkpoints.safetensors_checkpoint import SafetensorsCheckpoint
from globalprune.models.checkpoints.weight_checks import refuse_gaps
from globalprune.models.configs.class_config import class_config, config_dtype, remote_class
from globalprune.models.meta_model import empty_model, refuse_shape_mismatch
from globalprune.models.modeling_globalprune import Expert, Experts, expert_names
from globalprune.models.placement import DTYPES, TORCH_DTYPE_NAMES
from globalprune.models.quiet import quiet_transformers
from globalprune.models.sources.source import ModelSource, resolve_model

_CHECK_FOLDER: Final = (
    "check that the folder is whole and of an architecture that transformers knows, or fetch it "
    "again."
)
_GENERATION_CONFIG: Final = "generation_config.json"


def load_model(
    source: str | Path | ModelSource | Checkpoint,
    *,
    dtype: torch.dtype | str | None = None,
    device: str = "cpu",
    trust_remote_code: bool = False,
) -> PreTrainedModel:
    """Load a causal language model in eval mode; raise `CheckpointError` unless every tensor fits.

    The default `dtype` is float32 on a CPU and from GGUF, and the checkpoint's own elsewhere.
    `trust_remote_code` runs code from the model's folder; our results never need it.
    A checkpoint that is open already is not opened again.
    """
    if isinstance(source, str | Path):
        source = resolve_model(str(source))
    model_source = source if isinstance(source, ModelSource) else source.source
    if model_source.is_gguf:
        model = load_gguf(model_source, dtype)
    else:
        checkpoint = open_folder(source) if isinstance(source, ModelSource) else source
        if isinstance(checkpoint, SafetensorsCheckpoint | LoraCheckpoint):
            checkpoint = checkpoint.mapped()
        if dtype is None:
            on_cpu = torch.device(device).type == "cpu"
            dtype = torch.float32 if on_cpu else _stored_dtype(checkpoint)
        with quiet_transformers():
            model = _load_folder(checkpoint, dtype, trust_remote_code=trust_remote_code)
    torch.nn.Module.to(model, device)
    model.eval()
    return model


def unfuse_experts(model: nn.Module) -> None:
    """Give every fused expert a module of its own, in the memory of the fused weights.

    A model without experts, or with single ones, is left alone.
    """
    for module in list(model.modules()):
        fused: Any = getattr(module, "experts", None)
        if isinstance(fused, nn.Module) and hasattr(fused, "gate_up_proj"):
            module.experts = _unfused(fused, model.config)


class _LazyTensor:
    """A tensor of a checkpoint that is read when transformers slices it."""

    def __init__(self, checkpoint: Checkpoint, name: str) -> None:
        self._checkpoint, self._name = checkpoint, name

    def __getitem__(self, _: Any) -> torch.Tensor:
        return self._checkpoint.read(self._name)


def _load_folder(
    checkpoint: Checkpoint, dtype: torch.dtype | str, *, trust_remote_code: bool
) -> PreTrainedModel:
    """Build the model and fill it from the checkpoint; raise for tensors that don't fit."""
    folder, where = checkpoint.source.path, checkpoint.source.name
    config, model_class = _model_class(checkpoint, trust_remote_code=trust_remote_code)
    with library_errors(CheckpointError, f"{where}: the model can't be loaded", _CHECK_FOLDER):
        model, report = model_class.from_pretrained(
            None,
            config=config,
            state_dict={name: _LazyTensor(checkpoint, name) for name in checkpoint.tensors},
            dtype=dtype,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # they are reported, and refused by name
        )
        model.config.name_or_path = model.name_or_path = str(folder)
    if model.can_generate() and (folder / _GENERATION_CONFIG).is_file():
        damaged = f"{folder / _GENERATION_CONFIG}: can't be read"
        with library_errors(CheckpointError, damaged, "mend or delete it."):
            model.generation_config = GenerationConfig.from_pretrained(folder)
    refuse_gaps(where, report)
    loaded: PreTrainedModel = model
    return loaded


def _model_class(checkpoint: Checkpoint, *, trust_remote_code: bool) -> tuple[Any, Any]:
    """Return the config object and the class from which a checkpoint's model is built.

    Raise for sizes in the config that no tensor has, before memory is allocated for them.
    """
    config, folder = checkpoint.config, checkpoint.source.path
    code = remote_class(config, "AutoModelForCausalLM")
    if code is not None and trust_remote_code:
        own = class_config(config, folder, remote_code=True)
        return own, get_class_from_dynamic_module(code, folder)
    class_config(config, folder)  # refuses what has no class, with the file's whole name
    try:
        empty = empty_model(config)
    except ModelError as error:
        raise CheckpointError(f"{folder}: {error}") from error
    refuse_shape_mismatch(checkpoint, empty)
    return empty.config, type(empty)


def _stored_dtype(checkpoint: Checkpoint) -> torch.dtype:
    """Return the dtype to compute a checkpoint in: that of its config, else of its tensors."""
    if (dtype := config_dtype(checkpoint.config)) is not None:
        return dtype
    stored = next(iter(checkpoint.tensors.values())).dtype
    return DTYPES[TORCH_DTYPE_NAMES.get(stored, "float32")]


def _unfused(fused: Any, config: Any) -> Experts:
    """Return the experts as modules; `gate_up_proj` is `[E, 2F, D]`, `down_proj` `[E, D, F]`."""
    names = expert_names(config)
    experts = {}
    for number, (gate_up, down) in enumerate(zip(fused.gate_up_proj, fused.down_proj, strict=True)):
        gate, up = gate_up.chunk(2)
        linears = _linear(gate), _linear(up), _linear(down)
        experts[str(number)] = Expert(linears, names, fused.act_fn)
    return Experts(experts)


def _linear(weight: torch.Tensor) -> nn.Linear:
    """Return a linear layer without a bias that shares the memory of `weight`."""
    rows, columns = weight.shape
    linear = nn.Linear(columns, rows, bias=False, device="meta")
    linear.weight = nn.Parameter(weight.detach(), requires_grad=False)
    return linear
