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
from globalprune.export.gguf.model import ROPE_FACTORS_TENSOR, ExportModel, frequency_factors
from globalprune.models.checkpoints.checkpoint import Checkpoint
from globalprune.models.checkpoints.weight_checks import EMBEDDING, HEAD, refuse_non_finite


@dataclass(frozen=True)
class TensorRows:
    """A tensor of the checkpoint, whose heads are interleaved if it says how many it has."""

    name: str
    heads: int | None = None

    def read(self, checkpoint: Checkpoint) -> torch.Tensor:
        """The numbers, in the order that llama.cpp wants."""
        tensor = checkpoint.read(self.name)
        if self.heads is None:
            return tensor
        halves = tensor.reshape(self.heads, 2, -1, *tensor.shape[1:])
        return halves.transpose(1, 2).reshape(tensor.shape)


@dataclass(frozen=True)
class GgufTensor:
    """A tensor of the file: some of the checkpoint's, one above the other, or our own numbers."""

    name: str
    shape: tuple[int, ...]
    rows: tuple[TensorRows, ...] = ()
    fill: float | tuple[float, ...] = 0.0  # where there are no rows: all over, or one by one

    @property
    def parameters(self) -> int:
        """The number of elements."""
        return math.prod(self.shape)

    def read(self, checkpoint: Checkpoint) -> torch.Tensor:
        """Its numbers, as the checkpoint stores them."""
        if not self.rows:
            return torch.tensor(self.fill).expand(self.shape)
        return torch.cat([rows.read(checkpoint) for rows in self.rows])


_OUTSIDE: Final = {
    "token_embd.weight": EMBEDDING,
    "output_norm.weight": "model.norm.weight",
    "output.weight": HEAD,
}
_PARTS: Final[dict[GroupType, dict[str, str]]] = {
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


def list_tensors(subject: ExportModel) -> tuple[GgufTensor, ...]:
    """Every tensor that comes from the checkpoint or pads it, in the file's order.

    Raise `UnsupportedArchitecture` if the file would lose one.
    """
    tensors = (*_outside(subject), *_inside(subject))
    _refuse_loss(subject, tensors)
    return tensors


def _outside(subject: ExportModel) -> Iterator[GgufTensor]:
    stored = subject.checkpoint.tensors
    for name, source in _OUTSIDE.items():
        if source in stored:
            yield GgufTensor(name, stored[source].shape, (TensorRows(source),))
    factors = frequency_factors(subject.rope, subject.structure.layers[0].head_dim)
    if factors is not None:
        yield GgufTensor(ROPE_FACTORS_TENSOR, factors.shape, fill=tuple(factors.tolist()))


def _inside(subject: ExportModel) -> Iterator[GgufTensor]:
    for number, layer in enumerate(subject.shape.layers):
        made = _Layer(subject, layer).tensors()
        if subject.shape.form.fused:
            made = _fused(made)
        for part, tensor in made.items():
            yield GgufTensor(f"blk.{number}.{part}", tensor.shape, tensor.rows, tensor.fill)


@dataclass(frozen=True)
class _Layer:
    """One layer's tensors, by their names in the file below the layer."""

    subject: ExportModel
    layer: GgufLayer

    def tensors(self) -> dict[str, GgufTensor]:
        """All of the sublayers that the file holds, padded ones included."""
        found = {}
        for kind, parts in _PARTS.items():
            if not self.layer.groups[kind]:
                continue
            for part, source in parts.items():
                for ending in ("weight", "bias"):
                    tensor = self._tensor(kind, part, f"{source}.{ending}")
                    if tensor is not None:
                        found[f"{part}.{ending}"] = tensor
        return found

    def _tensor(self, kind: GroupType, part: str, source: str) -> GgufTensor | None:
        """What is stored, else what pads an emptied sublayer, else nothing."""
        stored = self._stored
        if source in stored:
            name = self.subject.adapter.layer_prefix(self.layer.layer_idx) + source
            return GgufTensor(part, stored[source], (TensorRows(name, self._interleaved(part)),))
        padding = self._padding().get(part) if kind in self.layer.padded else None
        if padding is None or source.endswith(".bias"):
            return None
        return GgufTensor(part, padding, fill=1.0 if part.endswith("_norm") else 0.0)

    @property
    def _stored(self) -> dict[str, tuple[int, ...]]:
        """The shapes of the checkpoint's tensors, by their names below the layer."""
        return self.subject.structure.layers[self.layer.layer_idx].tensors

    def _interleaved(self, part: str) -> int | None:
        """The number of heads whose halves are interleaved."""
        if not self.subject.shape.form.interleaved:
            return None
        heads = {"attn_q": self.layer.query_heads, "attn_k": self.layer.groups["attention"]}
        return heads.get(part)

    def _padding(self) -> dict[str, tuple[int, ...]]:
        """The shapes of all that a padded sublayer has."""
        hidden, head = self.subject.traits.hidden_size, self.layer.head_dim
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
        return shapes | norms if self.subject.shape.form.query_key_norms else shapes


def _fused(tensors: dict[str, GgufTensor]) -> dict[str, GgufTensor]:
    """Queries, keys and values as one tensor; zeros above zeros are zeros."""
    parts = [tensors.pop(f"{part}.weight") for part in _FUSED]
    shape = (sum(part.shape[0] for part in parts), *parts[0].shape[1:])
    rows = tuple(rows for part in parts for rows in part.rows)
    return {"attn_qkv.weight": GgufTensor("attn_qkv", shape, rows)} | tensors


def _refuse_loss(subject: ExportModel, tensors: tuple[GgufTensor, ...]) -> None:
    """Every tensor of the checkpoint must stand in the file, but for norms of what is empty."""
    written = {rows.name for tensor in tensors for rows in tensor.rows}
    idle = {
        subject.adapter.layer_prefix(index) + f"{subject.adapter.pre_norm(kind)}.weight"
        for index, kind, sublayer in subject.structure.sublayers()
        if not sublayer.groups
    }
    if lost := sorted(subject.checkpoint.tensors.keys() - written - idle):
        raise UnsupportedArchitecture(
            f"{subject.checkpoint.source.name}: {', '.join(lost[:3])}: GGUF has no place for that; "
            "save the model without it."
        )


NumberKinds = dict[str, tuple[Kind, LlamaFileType]]
NUMBER_FORMATS: Final[NumberKinds] = {
    "f32": (Kind.F32, LlamaFileType.ALL_F32),
    "f16": (Kind.F16, LlamaFileType.MOSTLY_F16),
    "bf16": (Kind.BF16, LlamaFileType.MOSTLY_BF16),
    "q8_0": (Kind.Q8_0, LlamaFileType.MOSTLY_Q8_0),
}
_LONG: Final = {"float32": "f32", "float16": "f16", "bfloat16": "bf16"}
_LARGEST: Final = {Kind.F16: 65_504, Kind.Q8_0: 127 * 65_504}  # its scales are float16


@dataclass(frozen=True)
class NumberFormat:
    """One of the kinds; `name` is how a person asks for it."""

    name: str

    @property
    def file_type(self) -> int:
        """What the file says that it mostly holds."""
        return int(NUMBER_FORMATS[self.name][1])

    def kind_of(self, tensor: GgufTensor) -> Kind:
        """How one tensor is stored."""
        kind, _ = NUMBER_FORMATS[self.name]
        if len(tensor.shape) == 1:
            return Kind.F32
        return Kind.F16 if tensor.shape[-1] % gguf.GGML_QUANT_SIZES[kind][0] else kind

    def bytes_of(self, tensor: GgufTensor) -> int:
        """What one tensor takes."""
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
    """What was asked for, else the checkpoint's own sixteen bits, or float16 for wider ones."""
    if dtype is None:
        return NumberFormat("bf16" if stored == "BF16" else "f16")
    name = _LONG.get(dtype, dtype)
    if name not in NUMBER_FORMATS:
        raise UsageError(
            f"--save-dtype {dtype}: is not known; there are {', '.join((*_LONG, 'q8_0'))} (or "
            f"{', '.join(_LONG.values())})."
        )
    return NumberFormat(name)


def unquantised_names(numbers: NumberFormat, tensors: tuple[GgufTensor, ...]) -> tuple[str, ...]:
    """The names of matrices that stay wider than was asked for."""
    asked, _ = NUMBER_FORMATS[numbers.name]
    return tuple(
        one.name for one in tensors if len(one.shape) > 1 and numbers.kind_of(one) != asked
    )
