"""A checkpoint loaded as a torch model, with its tokenizer.

Models with fused experts are taken apart into one module for each expert, so that every expert has
hooks and weights of its own.
"""

from pathlib import Path
from typing import Any, Final

import torch
from torch import nn
from transformers import (
    CONFIG_MAPPING,
    AutoModelForCausalLM,
    AutoTokenizer,
    GenerationConfig,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.dynamic_module_utils import get_class_from_dynamic_module

from globalprune.errors import CheckpointError, ModelError, library_errors
from globalprune.models.checkpoints.checkpoint import Checkpoint
from globalprune.models.checkpoints.gguf_families import refuse_lossy_gguf
from globalprune.models.checkpoints.gguf_header import read_gguf_header
from globalprune.models.checkpoints.open import open_folder
from globalprune.models.configs.class_config import class_config, config_dtype, remote_class
from globalprune.models.configs.config import read_config
from globalprune.models.meta_model import empty_model, refuse_shape_mismatch
from globalprune.models.modeling_globalprune import Expert, Experts, expert_names
from globalprune.models.placement import DTYPES, TORCH_DTYPE_NAMES
from globalprune.models.quiet import quiet_transformers
from globalprune.models.sources.source import ModelSource, resolve_model
from globalprune.models.tokenizer_files import check_tokenizer, tokenizer_errors, tokenizer_files

_Loaded = tuple[PreTrainedModel, dict[str, Any]]  # the second says which tensors didn't fit
_SHOWN: Final = 5  # tensors named in an error
_FETCH: Final = (
    "check that the folder is whole and of an architecture that transformers knows, or fetch it "
    "again."
)
_GENERATION: Final = "generation_config.json"
_MAKE_ANEW: Final = "download or make the .gguf file again."
_OF_MODELS: Final = ("per_layer_config", "auto_map")  # of a config.json, and none of a tokenizer's


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
    with quiet_transformers():
        if found.is_gguf:
            refuse_lossy_gguf(read_gguf_header(found.path), found.name)
            model, report = _load_gguf(found, torch.float32 if dtype is None else dtype)
        else:
            checkpoint = open_folder(found, to_load=True)
            if dtype is None:
                on_cpu = torch.device(device).type == "cpu"
                dtype = torch.float32 if on_cpu else _own_dtype(checkpoint)
            model, report = _load_folder(checkpoint, dtype, trust_remote_code=trust_remote_code)
    _refuse_gaps(found, report)
    torch.nn.Module.to(model, device)
    model.eval()
    return model


def load_tokenizer(source: str | Path) -> PreTrainedTokenizerBase:
    """Load the tokenizer that lies with a model; raise `CheckpointError` with the file at fault."""
    found = resolve_model(str(source))
    if found.is_gguf:
        where = f"{found.name}: its tokenizer can't be read"
        with quiet_transformers(), library_errors(CheckpointError, where, _MAKE_ANEW):
            return _tokenizer(found.path.parent, gguf_file=str(found.path.absolute()))
    config = _config_beside(found)
    files = tokenizer_files(found.path)
    with quiet_transformers(), tokenizer_errors(found.name, files):
        tokenizer = _tokenizer(found.path, config=config)
    return check_tokenizer(tokenizer, found.name, files)


def _config_beside(found: ModelSource) -> PretrainedConfig:
    """The config by which transformers picks the tokenizer's class; its faults are its own.

    It would stop at uneven layers, and code from the folder is never run for a tokenizer.
    """
    config = read_config(found.path / "config.json")
    plain = {key: value for key, value in config.items() if key not in _OF_MODELS}
    kind = plain.get("model_type")
    if isinstance(kind, str) and kind in CONFIG_MAPPING:
        return class_config(plain, found.path)
    named = plain.get("tokenizer_class")
    return PretrainedConfig.from_dict(
        {"tokenizer_class": named if isinstance(named, str) else None}
    )


class _Stored:
    """A tensor of a checkpoint, read when transformers asks for it, as it asks for a slice."""

    def __init__(self, checkpoint: Checkpoint, name: str) -> None:
        self._checkpoint, self._name = checkpoint, name

    def __getitem__(self, _: Any) -> torch.Tensor:
        return self._checkpoint.read(self._name)


def _load_folder(
    checkpoint: Checkpoint, dtype: torch.dtype | str, *, trust_remote_code: bool
) -> _Loaded:
    """Build the model and fill it with what the checkpoint reads; report what did not fit."""
    folder, where = checkpoint.source.path, checkpoint.source.name
    own, model_class = _class_of(checkpoint, trust_remote_code=trust_remote_code)
    with library_errors(CheckpointError, f"{where}: the model can't be loaded", _FETCH):
        model, report = model_class.from_pretrained(
            None,
            config=own,
            state_dict={name: _Stored(checkpoint, name) for name in checkpoint.tensors},
            dtype=dtype,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # so that they are reported, and refused, by name
        )
        model.config.name_or_path = model.name_or_path = str(folder)
    if model.can_generate() and (folder / _GENERATION).is_file():
        damaged = f"{folder / _GENERATION}: can't be read"
        with library_errors(CheckpointError, damaged, "mend or delete it."):
            model.generation_config = GenerationConfig.from_pretrained(folder)
    return model, report


def _class_of(checkpoint: Checkpoint, *, trust_remote_code: bool) -> tuple[Any, Any]:
    """The config object and the class that a checkpoint's model is built by.

    Raise for sizes in the config that no tensor has, before memory is taken for them.
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


def _own_dtype(checkpoint: Checkpoint) -> torch.dtype:
    """The precision to compute a checkpoint in: what its config says, else its tensors'."""
    if (dtype := config_dtype(checkpoint.config)) is not None:
        return dtype
    stored = next(iter(checkpoint.tensors.values())).dtype
    return DTYPES[TORCH_DTYPE_NAMES.get(stored, "float32")]


def _load_gguf(found: ModelSource, dtype: torch.dtype | str) -> _Loaded:
    """Load a GGUF file as a plain model, one that `save_pretrained` writes like any other."""
    auto: Any = AutoModelForCausalLM
    file = str(found.path.absolute())  # a bare name would be looked for where gp was started first
    with library_errors(CheckpointError, f"{found.name}: the model can't be loaded", _MAKE_ANEW):
        model, report = auto.from_pretrained(
            found.path.parent,
            gguf_file=file,
            dtype=dtype,
            output_loading_info=True,
            ignore_mismatched_sizes=True,
        )
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


def unfuse_experts(model: nn.Module) -> None:
    """Let every layer run its experts one by one, in the memory of the fused weights.

    A model without experts, or one whose experts lie apart already, is left alone.
    """
    for module in list(model.modules()):
        fused: Any = getattr(module, "experts", None)
        if isinstance(fused, nn.Module) and hasattr(fused, "gate_up_proj"):
            module.experts = _apart(fused, model.config)


def _apart(fused: Any, config: Any) -> Experts:
    """The experts as modules; `gate_up_proj` is `[E, 2F, D]`, `down_proj` `[E, D, F]`."""
    names = expert_names(config)
    experts = {}
    for number, (both, down) in enumerate(zip(fused.gate_up_proj, fused.down_proj, strict=True)):
        gate, up = both.chunk(2)
        linears = _sharing(gate), _sharing(up), _sharing(down)
        experts[str(number)] = Expert(linears, names, fused.act_fn)
    return Experts(experts)


def _sharing(weight: torch.Tensor) -> nn.Linear:
    """A linear layer without a bias, whose weight is this memory."""
    rows, columns = weight.shape
    linear = nn.Linear(columns, rows, bias=False, device="meta")
    linear.weight = nn.Parameter(weight.detach(), requires_grad=False)
    return linear
