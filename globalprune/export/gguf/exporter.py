"""gp export: a checkpoint checked and written as a GGUF file."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import gguf
import numpy as np
from gguf.utility import size_label

from globalprune.artifacts.disk import refuse_unwritable_file, temporary_file
from globalprune.artifacts.plans.index_set import IndexSet
from globalprune.artifacts.plans.plan_file import PLAN_FILE, read_plan
from globalprune.artifacts.records import OWN_FOLDER
from globalprune.card.licences import read_licence
from globalprune.errors import ArtifactError, UsageError
from globalprune.export.gguf.model import ExportModel, add_rope, open_export_model
from globalprune.export.gguf.tensors import (
    GgufTensor,
    NumberFormat,
    choose_number_format,
    list_tensors,
    unquantised_names,
)
from globalprune.export.gguf.tokenizer import (
    DonatedVocabulary,
    Vocabulary,
    read_donor,
    read_vocabulary,
)
from globalprune.models.checkpoints.gguf_header import is_gguf
from globalprune.models.sources.source import ModelSource
from globalprune.progress import Progress, silent


@dataclass(frozen=True)
class ExportResult:
    """A model in a runtime's own format."""

    path: Path
    architecture: str  # the runtime's word for it
    dtype: str
    bytes: int
    parameters: int  # the model's own
    padding: int  # parameters of zeros that the format wants beside them
    padded: tuple[tuple[int, str], ...]  # the sublayers that are zeros alone: layer and kind
    warnings: tuple[str, ...]

    @property
    def document(self) -> dict[str, Any]:
        """The answer for a program."""
        sublayers = [{"layer": layer, "sublayer": sublayer} for layer, sublayer in self.padded]
        facts = asdict(self) | {"path": str(self.path), "padded": sublayers}
        return facts | {"notes": list(facts.pop("warnings"))}


def add_keys(writer: gguf.GGUFWriter, subject: ExportModel, file_type: int) -> None:
    """Write the general keys and those of the architecture."""
    _add_general(writer, subject, file_type)
    _add_architecture(writer, subject)


def _add_general(writer: gguf.GGUFWriter, subject: ExportModel, file_type: int) -> None:
    writer.add_type("model")
    writer.add_name(_name(subject.checkpoint.source))
    writer.add_size_label(size_label(subject.checkpoint.parameters, 0, 0, 0))
    stated = dict(read_licence(subject.checkpoint.auxiliary_folder).front_matter)
    for key, add in (
        ("license", writer.add_license),
        ("license_name", writer.add_license_name),
        ("license_link", writer.add_license_link),
    ):
        add(stated.get(key, ""))  # an empty one isn't written
    writer.add_file_type(file_type)
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)


def _name(source: ModelSource) -> str:
    """The name of its folder, or the last part of its Hub id: the rest tells of a machine."""
    if source.revision is not None:
        return source.name.partition("@")[0].rpartition("/")[2]
    return (source.adapter or source.path).resolve().name


def _add_architecture(writer: gguf.GGUFWriter, subject: ExportModel) -> None:
    config = subject.config
    shape = subject.shape
    head_dim = subject.structure.layers[0].head_dim
    heads = [layer.query_heads for layer in shape.layers]
    key_heads = [layer.groups["attention"] for layer in shape.layers]
    channels = [layer.groups["mlp"] for layer in shape.layers]
    by_layer = shape.form.by_layer
    writer.add_block_count(len(shape.layers))
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(subject.traits.hidden_size)
    writer.add_head_count(heads if by_layer else heads[0])
    writer.add_head_count_kv(key_heads if by_layer else key_heads[0])
    writer.add_feed_forward_length(channels if by_layer else channels[0])
    writer.add_key_length(head_dim)  # else llama.cpp divides the hidden size by the heads
    writer.add_value_length(head_dim)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_vocab_size(subject.rows)
    add_rope(writer, subject.rope, head_dim)


class WritesKeys(Protocol):
    """A tokenizer, the model's own or another file's."""

    def add_to(self, writer: gguf.GGUFWriter) -> None:
        """Write its keys."""
        ...


def write_gguf(
    path: Path,
    subject: ExportModel,
    tensors: tuple[GgufTensor, ...],
    vocabulary: WritesKeys,
    *,
    numbers: NumberFormat,
    progress: Progress,
) -> None:
    """Write keys, the list of tensors, then their numbers in that order."""
    writer = gguf.GGUFWriter(path, subject.shape.form.architecture)
    try:
        add_keys(writer, subject, numbers.file_type)
        vocabulary.add_to(writer)
        for tensor in tensors:
            writer.add_tensor_info(
                tensor.name,
                tensor.shape,
                np.dtype(np.float32),  # of no account: the kind says it all
                numbers.bytes_of(tensor),
                raw_dtype=numbers.kind_of(tensor),
            )
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        for tensor in progress(tensors, total=len(tensors), label="writing", unit="tensors"):
            writer.write_tensor_data(numbers.encode(tensor, tensor.read(subject.checkpoint)))
    finally:
        writer.close()


def export_gguf(
    model: str,
    out: Path,
    *,
    dtype: str | None = None,
    donor: Path | None = None,
    progress: Progress = silent,
) -> ExportResult:
    """Write a model as a GGUF file that llama.cpp runs as transformers runs the folder.

    `dtype` is f32, f16, bf16 or q8_0, else the checkpoint's own sixteen bits. `donor` is a GGUF
    file of the same model that lends its tokenizer. Raise `UsageError` before any work for what has
    no form there; a file that stands at `out` is replaced only once the new one is whole.
    """
    _refuse_place(out, donor)
    subject = open_export_model(model, out)
    numbers = choose_number_format(dtype, subject.stored_dtype)
    tensors = list_tensors(subject)
    vocabulary = _vocabulary(subject, donor)
    with temporary_file(out) as temporary:
        write_gguf(temporary, subject, tensors, vocabulary, numbers=numbers, progress=progress)
    hidden = subject.traits.hidden_size
    layers = subject.shape.layers
    return ExportResult(
        path=out,
        architecture=subject.shape.form.architecture,
        dtype=numbers.name,
        bytes=out.stat().st_size,
        parameters=subject.checkpoint.parameters,
        padding=subject.shape.padding(hidden),
        padded=tuple((layer.layer_idx, kind) for layer in layers for kind in layer.padded),
        warnings=(
            *_warnings(subject, tensors, numbers),
            *_size_warnings(subject, out.stat().st_size),
            *vocabulary.warnings,
        ),
    )


def _refuse_place(out: Path, donor: Path | None) -> None:
    """Raise `UsageError` unless a GGUF file may be written there."""
    refuse_unwritable_file(out)
    if out.exists() and not is_gguf(out):
        raise UsageError(f"{out}: is there and is no GGUF file; name another with -o.")
    if donor is not None and out.exists() and donor.exists() and out.samefile(donor):
        raise UsageError(f"{out}: is the donor, which is only read; name another with -o.")


def _vocabulary(subject: ExportModel, donor: Path | None) -> Vocabulary | DonatedVocabulary:
    """The tokenizer that the file gets."""
    if donor is not None:
        return read_donor(donor, subject.rows)
    return read_vocabulary(subject.checkpoint.source.path, subject.rows)


def _size_warnings(subject: ExportModel, found: int) -> Iterator[str]:
    """Yield where the file is larger than the plan behind the model was asked for."""
    source = subject.checkpoint.source
    path = source.path / OWN_FOLDER / PLAN_FILE
    if source.adapter is not None or not path.is_file():
        return
    with suppress(ArtifactError):
        target = read_plan(path).target
        if target is not None and target.size is not None and found > target.size:
            yield (
                f"the plan behind this model was asked for {target.size:,} bytes at most, which is "
                f"a promise for the folder that gp apply wrote; this file takes {found:,}."
            )


def _warnings(
    subject: ExportModel, tensors: tuple[GgufTensor, ...], numbers: NumberFormat
) -> Iterator[str]:
    """Yield what of the file is not what one would think."""
    yield from subject.shape.told(subject.traits.hidden_size)
    held = {layer.layer_idx for layer in subject.shape.layers}
    if gone := IndexSet.of(set(range(len(subject.structure.layers))) - held):
        yield f"layer{'s' * (len(gone) > 1)} {gone}: nothing is left of it, so it isn't written."
    if wide := unquantised_names(numbers, tensors):
        more = f" and {len(wide) - 3} more" if len(wide) > 3 else ""  # noqa: PLR2004
        yield (
            f"{', '.join(wide[:3])}{more}: rows are no multiple of 32, so they stay f16; plan with "
            "--for llama.cpp to have all quantised."
        )
