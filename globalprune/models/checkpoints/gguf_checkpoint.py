"""A GGUF file as a checkpoint: dequantised to float32 by transformers, with Hugging Face names.

The metadata is read at once. The weights are read when they are first needed, all together: GGUF
stores them in another order and permutation, so that no tensor can be read alone. The tokenizer in
the same file is read by `loading.py`.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import torch

from globalprune.errors import CheckpointError
from globalprune.models.checkpoints.checkpoint import TensorInfo
from globalprune.models.checkpoints.gguf_families import refuse_lossy_gguf
from globalprune.models.checkpoints.gguf_header import read_gguf_header
from globalprune.models.loading import load_model
from globalprune.models.quiet import quiet_transformers
from globalprune.models.registry import adapter_for
from globalprune.models.sources.source import ModelSource

_DTYPE: Final = "F32"


@dataclass(frozen=True)
class GgufCheckpoint:
    """The float32 model that transformers makes of the file."""

    source: ModelSource
    config: dict[str, Any]

    @classmethod
    def open(cls, source: ModelSource) -> "GgufCheckpoint":
        """Read the metadata; raise for files that can't be read, or not without a loss."""
        refuse_lossy_gguf(read_gguf_header(source.path), source.name)
        return cls(source, _float_config(_read_metadata(source.path)))

    @cached_property
    def tensors(self) -> Mapping[str, TensorInfo]:
        """Every parameter once; the first access loads the weights."""
        return {
            name: TensorInfo(tuple(tensor.shape), _DTYPE) for name, tensor in self._weights.items()
        }

    @property
    def parameters(self) -> int:
        """The number of parameters; tied tensors count once."""
        return sum(info.parameters for info in self.tensors.values())

    @property
    def auxiliary_folder(self) -> Path | None:
        """None: the other files of the folder may belong to other models."""
        return None

    def read(self, name: str) -> torch.Tensor:
        """Return one tensor of the loaded model."""
        return self._weights[name]

    def release(self) -> None:
        """Let go of the dequantised weights; they are read again when they are needed."""
        self.__dict__.pop("_weights", None)

    @cached_property
    def _weights(self) -> dict[str, torch.Tensor]:
        """The parameters by name; `named_parameters` yields a tied one once."""
        adapter_for(self.config)  # refuses before the weights are dequantised
        model = load_model(self.source.path, dtype=torch.float32)
        return {name: parameter.detach() for name, parameter in model.named_parameters()}


def _read_metadata(path: Path) -> dict[str, Any]:
    """Return the config that transformers makes of the file's metadata."""
    from transformers import AutoConfig

    try:
        with quiet_transformers():
            config = AutoConfig.from_pretrained(path.parent, gguf_file=str(path.absolute()))
        raw: dict[str, Any] = json.loads(config.to_json_string(use_diff=True))
    # a damaged file can fail anywhere in the reader, each time with another kind of error
    except Exception as error:
        raise CheckpointError(
            f"{path}: transformers can't read this GGUF file ({error}); download it again, or "
            "give the original model as a folder or Hub id."
        ) from error
    return raw


def _float_config(config: dict[str, Any]) -> dict[str, Any]:
    """Return the config of the float32 model, without the marks of a quantisation."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    own = {key: value for key, value in config.items() if not key.startswith("_")}
    own.pop("quantization_config", None)
    architecture = MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.get(own["model_type"])
    return own | {"architectures": [architecture], "dtype": "float32"}
