"""The config object of a model's class, built from config.json without the settings of a run.

Training scripts leave settings in config.json that belong to their own run: the attention kernel of
another machine, tuples in place of named outputs, the labels of a classifier. The tensors are the
same with or without them, so every command opens a model without them.
"""

import json
from pathlib import Path
from typing import Any, Final

import torch
from transformers import CONFIG_MAPPING, AutoConfig, DynamicCache, PretrainedConfig
from transformers.cache_utils import DynamicSlidingWindowLayer

from globalprune.errors import CheckpointError, UnsupportedArchitecture, library_errors
from globalprune.models import modeling_globalprune
from globalprune.models.configs.config import RUN_SETTINGS
from globalprune.models.configs.native_config import (
    RawConfig,
    copy_of,
    is_uneven,
    pruned_class,
)
from globalprune.models.quiet import quiet_transformers

_OUTPUT_SETTINGS: Final = {
    "return_dict": True,
    "output_attentions": False,
    "output_hidden_states": False,
}
_DTYPE_KEYS: Final = ("dtype", "torch_dtype")
_COMPUTE_DTYPES: Final = (torch.float32, torch.float64, torch.float16, torch.bfloat16)
_BIDIRECTIONAL: Final[dict[str, tuple[object, ...]]] = {
    "is_causal": (False,),
    "use_bidirectional_attention": (True, "all"),
}
_MEND: Final = "mend it, or download or save the model again."


def class_config(
    config: RawConfig, folder: Path | None = None, *, remote_code: bool = False
) -> PretrainedConfig:
    """Build the config object of the class that a raw config.json asks for.

    Uneven layers have this package's own class. With `remote_code` a class in `folder` is used if
    config.json names one. Raise `CheckpointError` for a config that no class accepts, and
    `UnsupportedArchitecture` for a model that sees the tokens that it predicts.
    """
    where = str((folder or Path()) / "config.json")
    _refuse_unknown(config, where, remote_code=remote_code)
    _refuse_bidirectional(config, where)
    refused = f"{where}: no model can be built from it"
    with quiet_transformers(), library_errors(CheckpointError, refused, _MEND):
        if remote_code and remote_class(config, "AutoConfig") is not None:
            auto: Any = AutoConfig
            built = auto.from_pretrained(folder, trust_remote_code=True, **_OUTPUT_SETTINGS)
        else:
            built = _config_class(config).from_dict(_model_settings(config))
    result: PretrainedConfig = built
    if folder is not None:
        result.name_or_path = str(folder)  # as transformers does where it reads the file itself
    return result


def attention_windows(config: RawConfig, folder: Path | None = None) -> tuple[int | None, ...]:
    """Return how many tokens each layer's attention sees, itself included; None where it sees all.

    Raise `CheckpointError` for a config that no class takes.
    """
    built = class_config(config, folder)
    refused = f"{(folder or Path()) / 'config.json'}: no cache can be built for its layers"
    with library_errors(CheckpointError, refused, _MEND):
        layers = DynamicCache(config=built).layers
    return tuple(
        layer.sliding_window or None if isinstance(layer, DynamicSlidingWindowLayer) else None
        for layer in layers
    )


def remote_class(config: RawConfig, auto_class: str) -> str | None:
    """Return the class in its own folder that config.json names for an auto class, but not ours."""
    named = config.get("auto_map")
    code = named.get(auto_class) if isinstance(named, dict) and not is_uneven(config) else None
    return code if isinstance(code, str) else None


def config_dtype(config: RawConfig) -> torch.dtype | None:
    """Return the dtype of the weights by config.json, if models can be computed in it."""
    for key in _DTYPE_KEYS:
        name = config.get(key)
        dtype = getattr(torch, name.removeprefix("torch."), None) if isinstance(name, str) else None
        if isinstance(dtype, torch.dtype) and dtype in _COMPUTE_DTYPES:
            return dtype
    return None


def _config_class(config: RawConfig) -> Any:
    """Return the config class of transformers, or ours for uneven layers."""
    if is_uneven(config):
        return getattr(modeling_globalprune, pruned_class(config)).config_class
    return CONFIG_MAPPING[config["model_type"]]


def _model_settings(config: RawConfig) -> RawConfig:
    """Return a copy without the settings of a run, and without a dtype that torch lacks."""
    own = {key: value for key, value in config.items() if key not in RUN_SETTINGS}
    for key in _DTYPE_KEYS:
        own.pop(key, None)
    if (dtype := config_dtype(config)) is not None:
        own["dtype"] = str(dtype).removeprefix("torch.")
    if own.get("auto_map") is not None and not isinstance(own["auto_map"], dict):
        own.pop("auto_map")  # no class that is used here reads it
    copied: RawConfig = copy_of(own)
    return copied


def _refuse_unknown(config: RawConfig, where: str, *, remote_code: bool) -> None:
    """Raise `UnsupportedArchitecture` for a class that this version of transformers lacks."""
    model_type = config.get("model_type")
    has_code = remote_class(config, "AutoConfig") is not None
    is_known = isinstance(model_type, str) and model_type in CONFIG_MAPPING
    if is_known or (remote_code and has_code):
        return
    code = " and asks for code of its own, which only --trust-remote-code runs" if has_code else ""
    raise UnsupportedArchitecture(
        f"{where}: model_type is {model_type!r}, which this version of transformers doesn't know"
        f"{code}; update transformers, or mend the file."
    )


def _refuse_bidirectional(config: RawConfig, where: str) -> None:
    """Raise `UnsupportedArchitecture` for a model that doesn't predict next tokens."""
    for key, values in _BIDIRECTIONAL.items():
        if config.get(key) in values:
            raise UnsupportedArchitecture(
                f"{where}: {key} is {json.dumps(config[key])}, so every token sees the ones behind "
                "it, and the loss of the next token means nothing for such a model; globalprune "
                "works on decoders only."
            )
