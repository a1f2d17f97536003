"""The tensors of a GGUF file: names, permutations, dtypes."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import gguf
import numpy as np
import torch
from gguf import GGMLQuantizationType as Kind
from gguf import LlamaFileType
from gguf.quants import quantize
from numpy.typing import NDArray

from globalprune.artifacts.plans.gguf_layout import GgufLayer
from globalprune.artifacts.structure import GroupType
from globalprune.errors import CheckpointError, UnsupportedArchitecture, UsageError
from globalprune.export.model import ROPE_FACTORS_TENSOR, ExportModel, frequency_factors
from globalprune.models.checkpoints.checkpoint import Checkpoint
from globalprune.models.checkpoints.weight_checks import EMBEDDING, HEAD, refuse_non_finite

NUMBER_FORMATS: Final[dict[str, tuple[Kind, LlamaFileType]]] = {
    "f32": (Kind.F32, LlamaFileType.ALL_F32),
    "f16": (Kind.F16, LlamaFileType.MOSTLY_F16),
    "bf16": (Kind.BF16, LlamaFileType.MOSTLY_BF16),
    "q8_0": (Kind.Q8_0, LlamaFileType.MOSTLY_Q8_0),
}
_LONG_NAMES: Final = {"float32": "f32", "float16": "f16", "bfloat16": "bf16"}
_LARGEST: Final = {Kind.F16: 65_504, Kind.Q8_0: 127 * 65_504}  # the scales of Q8_0 are float16
_OUTER_TENSORS: Final = {
    "token_embd.weight": EMBEDDING,
    "output_norm.weight": "model.norm.weight",
    "output.weight": HEAD,
}
_LAYER_TENSORS: Final[dict[GroupType, dict[str, str]]] = {
    "attention": {
        "attn_norm": "input_layernorm",
        "attn_q": "self_attn.q_proj",
        "attn_k": "self_attn.k_proj",
        "attn_v": "self_attn.v_proj",
        "attn_q_norm": "self_attn.q_norm",
        "attn_k_norm": "self_attn.k_norm",
        "attn_output": "self_attn.o_proj",
    },
    "mlp": {
        "ffn_norm": "post_attention_layernorm",
        "ffn_gate": "mlp.gate_proj",
        "ffn_up": "mlp.up_proj",
        "ffn_down": "mlp.down_proj",
    },
}
_FUSED: Final = ("attn_q", "attn_k", "attn_v")


@dataclass(frozen=True)
class TensorRows:
    """A tensor of the checkpoint; where `heads` is given, the halves of each are interleaved."""

    name: str
    heads: int | None = None

    def read(self, checkpoint: Checkpoint) -> torch.Tensor:
        """Return the elements in llama.cpp's order."""
        tensor = checkpoint.read(self.name)
        if self.heads is None:
            return tensor
        halves = tensor.reshape(self.heads, 2, -1, *tensor.shape[1:])
        return halves.transpose(1, 2).reshape(tensor.shape)


@dataclass(frozen=True)
class GgufTensor:
    """A tensor of the file: rows of the checkpoint, concatenated, or numbers of our own."""

    name: str
    shape: tuple[int, ...]
    rows: tuple[TensorRows, ...] = ()
    fill: float | tuple[float, ...] = 0.0  # without rows: one number for all elements, or each

    @property
    def parameters(self) -> int:
        """The number of elements."""
        return math.prod(self.shape)

    def read(self, checkpoint: Checkpoint) -> torch.Tensor:
        """Return its elements in the checkpoint's dtype."""
        if not self.rows:
            return torch.tensor(self.fill).expand(self.shape)
        return torch.cat([rows.read(checkpoint) for rows in self.rows])


@dataclass(frozen=True)
class NumberFormat:
    """How the matrices of a file are stored; `name` is a key of `NUMBER_FORMATS`."""

    name: str

    @property
    def file_type(self) -> int:
        """The file type: what the file mostly holds."""
        return int(NUMBER_FORMATS[self.name][1])

    def kind_of(self, tensor: GgufTensor) -> Kind:
        """Return how one tensor is stored."""
        kind, _ = NUMBER_FORMATS[self.name]
        if len(tensor.shape) == 1:
            return Kind.F32
        return Kind.F16 if tensor.shape[-1] % gguf.GGML_QUANT_SIZES[kind][0] else kind

    def bytes_of(self, tensor: GgufTensor) -> int:
        """Return the bytes of one tensor."""
        block, size = gguf.GGML_QUANT_SIZES[self.kind_of(tensor)]
        return tensor.parameters // block * size

    def encode(self, tensor: GgufTensor, numbers: torch.Tensor) -> NDArray[Any]:
        """Round numbers for the file; raise `CheckpointError` for those beyond its range."""
        kind = self.kind_of(tensor)
        refuse_non_finite(tensor.name, numbers, "the checkpoint")
        exact = numbers.to(torch.float32).contiguous().numpy()
        largest = max(exact.max(), -exact.min())  # no copy of what may be a large embedding
        if largest > _LARGEST.get(kind, np.inf):
            raise CheckpointError(
                f"{tensor.name}: holds numbers beyond {_LARGEST[kind]:,}, where those of "
                f"{kind.name} end; say --save-dtype bf16 or f32."
            )
        encoded: NDArray[Any] = quantize(exact, kind)
        return encoded


def choose_number_format(dtype: str | None, stored: str) -> NumberFormat:
    """Return the format by its name; for None the checkpoint's own sixteen bits, else float16.

    Raise `UsageError` for an unknown name.
    """
    if dtype is None:
        return NumberFormat("bf16" if stored == "BF16" else "f16")
    name = _LONG_NAMES.get(dtype, dtype)
    if name not in NUMBER_FORMATS:
        raise UsageError(
            f"--save-dtype {dtype}: is not known; there are {', '.join((*_LONG_NAMES, 'q8_0'))} "
            f"(or {', '.join(_LONG_NAMES.values())})."
        )
    return NumberFormat(name)


def list_tensors(model: ExportModel) -> tuple[GgufTensor, ...]:
    """List every tensor of the file in its order, from the checkpoint or padding.

    Raise `UnsupportedArchitecture` if the file would lose one.
    """
    tensors = (*_outer_tensors(model), *_layer_tensors(model))
    _refuse_loss(model, tensors)
    return tensors


def unquantised_names(numbers: NumberFormat, tensors: tuple[GgufTensor, ...]) -> tuple[str, ...]:
    """Return the names of matrices that are stored wider than the format says."""
    kind, _ = NUMBER_FORMATS[numbers.name]
    return tuple(one.name for one in tensors if len(one.shape) > 1 and numbers.kind_of(one) != kind)


def _outer_tensors(model: ExportModel) -> Iterator[GgufTensor]:
    stored = model.checkpoint.tensors
    for name, source in _OUTER_TENSORS.items():
        if source in stored:
            yield GgufTensor(name, stored[source].shape, (TensorRows(source),))
    factors = frequency_factors(model.rope, model.structure.layers[0].head_dim)
    if factors is not None:
        yield GgufTensor(ROPE_FACTORS_TENSOR, factors.shape, fill=tuple(factors.tolist()))


def _layer_tensors(model: ExportModel) -> Iterator[GgufTensor]:
    for number, layer in enumerate(model.shape.layers):
        tensors = _Layer(model, layer).tensors()
        if model.shape.form.fused:
            tensors = _fuse(tensors)
        for part, tensor in tensors.items():
            yield GgufTensor(f"blk.{number}.{part}", tensor.shape, tensor.rows, tensor.fill)


@dataclass(frozen=True)
class _Layer:
    """One layer's tensors, by their names in the file below the layer."""

    model: ExportModel
    layer: GgufLayer

    def tensors(self) -> dict[str, GgufTensor]:
        """Return the tensors of the sublayers that the file holds, padded ones included."""
        tensors = {}
        for kind, parts in _LAYER_TENSORS.items():
            if not self.layer.groups[kind]:
                continue
            for part, source in parts.items():
                for ending in ("weight", "bias"):
                    tensor = self._tensor(kind, part, f"{source}.{ending}")
                    if tensor is not None:
                        tensors[f"{part}.{ending}"] = tensor
        return tensors

    def _tensor(self, kind: GroupType, part: str, source: str) -> GgufTensor | None:
        """Return the stored tensor, else the padding of an emptied sublayer, else None."""
        stored = self._stored
        if source in stored:
            name = self.model.adapter.layer_prefix(self.layer.layer_idx) + source
            return GgufTensor(part, stored[source], (TensorRows(name, self._interleaved(part)),))
        padding = self._padding().get(part) if kind in self.layer.padded else None
        if padding is None or source.endswith(".bias"):
            return None
        return GgufTensor(part, padding, fill=1.0 if part.endswith("_norm") else 0.0)

    @property
    def _stored(self) -> dict[str, tuple[int, ...]]:
        """The shapes of the checkpoint's tensors, by their names below the layer."""
        return self.model.structure.layers[self.layer.layer_idx].tensors

    def _interleaved(self, part: str) -> int | None:
        """Return the number of heads whose halves are interleaved."""
        if not self.model.shape.form.interleaved:
            return None
        heads = {"attn_q": self.layer.query_heads, "attn_k": self.layer.groups["attention"]}
        return heads.get(part)

    def _padding(self) -> dict[str, tuple[int, ...]]:
        """Return the shapes of all tensors of a padded sublayer."""
        hidden, head = self.model.traits.hidden_size, self.layer.head_dim
        queries, keys = self.layer.query_heads * head, self.layer.groups["attention"] * head
        channels = self.layer.groups["mlp"]
        shapes: dict[str, tuple[int, ...]] = {
            "attn_q": (queries, hidden),
            "attn_k": (keys, hidden),
            "attn_v": (keys, hidden),
            "attn_output": (hidden, queries),
            "ffn_gate": (channels, hidden),
            "ffn_up": (channels, hidden),
            "ffn_down": (hidden, channels),
        }
        norms = dict.fromkeys(("attn_q_norm", "attn_k_norm"), (head,))
        return shapes | norms if self.model.shape.form.query_key_norms else shapes


def _fuse(tensors: dict[str, GgufTensor]) -> dict[str, GgufTensor]:
    """Fuse queries, keys and values into one tensor; padded ones, without rows, stay zeros."""
    parts = [tensors.pop(f"{part}.weight") for part in _FUSED]
    shape = (sum(part.shape[0] for part in parts), *parts[0].shape[1:])
    rows = tuple(rows for part in parts for rows in part.rows)
    return {"attn_qkv.weight": GgufTensor("attn_qkv", shape, rows)} | tensors


def _refuse_loss(model: ExportModel, tensors: tuple[GgufTensor, ...]) -> None:
    """Raise unless every tensor of the checkpoint, except norms of empty sublayers, is written."""
    written = {rows.name for tensor in tensors for rows in tensor.rows}
    unused = {
        model.adapter.layer_prefix(index) + f"{model.adapter.pre_norm(kind)}.weight"
        for index, kind, sublayer in model.structure.sublayers()
        if not sublayer.groups
    }
    if lost := sorted(model.checkpoint.tensors.keys() - written - unused):
        raise UnsupportedArchitecture(
            f"{model.checkpoint.source.name}: {', '.join(lost[:3])}: GGUF has no place for that; "
            "save the model without it."
        )
