"""gp export: a checkpoint checked and written as a GGUF file."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from gguf.utility import size_label

from globalprune.artifacts.disk import refuse_unwritable_file, temporary_file
from globalprune.artifacts.formatting import first_few
from globalprune.artifacts.plans.index_set import IndexSet
from globalprune.artifacts.plans.plan_file import PLAN_FILE, read_plan
from globalprune.artifacts.records import RECORDS_FOLDER
from globalprune.card.licences import read_licence
from globalprune.errors import ArtifactError, UsageError
from globalprune.export.model import ExportModel, add_rope, open_export_model
from globalprune.export.tensors import (
    GgufTensor,
    NumberFormat,
    choose_number_format,
    list_tensors,
    unquantised_names,
)
from globalprune.export.tokenizer import (
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
    """A file that was written for another runtime."""

    path: Path
    architecture: str  # the runtime's name of it
    dtype: str
    bytes: int
    parameters: int  # the model's own
    padding: int  # zeros beside them that the format needs
    padded: tuple[tuple[int, str], ...]  # the sublayers that are zeros alone: layer and kind
    warnings: tuple[str, ...]

    @property
    def document(self) -> dict[str, Any]:
        """The result as `--json` prints it."""
        sublayers = [{"layer": layer, "half": sublayer} for layer, sublayer in self.padded]
        facts = asdict(self) | {"path": str(self.path), "padded": sublayers}
        return facts | {"notes": list(facts.pop("warnings"))}


def export_gguf(
    model: str,
    out: Path,
    *,
    dtype: str | None = None,
    donor: Path | None = None,
    progress: Progress = silent,
) -> ExportResult:
    """Write a model as a GGUF file that llama.cpp runs as transformers runs the folder.

    `dtype` is f32, f16, bf16 or q8_0; the default is the checkpoint's own sixteen bits. `donor` is
    a GGUF file of the same model whose tokenizer is copied. Raise `UsageError`, before any work,
    for a model that llama.cpp can't express. A file at `out` is replaced once the new one is whole.
    """
    _refuse_output(out, donor)
    source_model = open_export_model(model, out)
    numbers = choose_number_format(dtype, source_model.stored_dtype)
    tensors = list_tensors(source_model)
    vocabulary = _read_vocabulary(source_model, donor)
    with temporary_file(out) as temporary:
        _write(temporary, source_model, tensors, vocabulary, numbers=numbers, progress=progress)
    shape = source_model.shape
    return ExportResult(
        path=out,
        architecture=shape.form.architecture,
        dtype=numbers.name,
        bytes=out.stat().st_size,
        parameters=source_model.checkpoint.parameters,
        padding=shape.padding(source_model.traits.hidden_size),
        padded=tuple((layer.layer_idx, kind) for layer in shape.layers for kind in layer.padded),
        warnings=(
            *_warnings(source_model, tensors, numbers),
            *_size_warnings(source_model, out.stat().st_size),
            *vocabulary.warnings,
        ),
    )


def _refuse_output(out: Path, donor: Path | None) -> None:
    """Raise `UsageError` unless a GGUF file may be written to `out`."""
    refuse_unwritable_file(out)
    if out.exists() and not is_gguf(out):
        raise UsageError(f"{out}: is there and is no GGUF file; name another with -o.")
    if donor is not None and out.exists() and donor.exists() and out.samefile(donor):
        raise UsageError(f"{out}: is the donor, which is only read; name another with -o.")


def _read_vocabulary(model: ExportModel, donor: Path | None) -> Vocabulary | DonatedVocabulary:
    """Read the tokenizer of the donor, or of the model."""
    if donor is not None:
        return read_donor(donor, model.rows)
    return read_vocabulary(model.checkpoint.source.path, model.rows)


def _write(
    path: Path,
    model: ExportModel,
    tensors: tuple[GgufTensor, ...],
    vocabulary: Vocabulary | DonatedVocabulary,
    *,
    numbers: NumberFormat,
    progress: Progress,
) -> None:
    """Write the keys, the list of tensors, then their elements in the same order."""
    writer = gguf.GGUFWriter(path, model.shape.form.architecture)
    try:
        _add_general_keys(writer, model, numbers.file_type)
        _add_architecture_keys(writer, model)
        vocabulary.add_to(writer)
        for tensor in tensors:
            writer.add_tensor_info(
                tensor.name,
                tensor.shape,
                np.dtype(np.float32),  # ignored: raw_dtype is given
                numbers.bytes_of(tensor),
                raw_dtype=numbers.kind_of(tensor),
            )
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        for tensor in progress(tensors, total=len(tensors), label="writing", unit="tensors"):
            writer.write_tensor_data(numbers.encode(tensor, tensor.read(model.checkpoint)))
    finally:
        writer.close()


def _add_general_keys(writer: gguf.GGUFWriter, model: ExportModel, file_type: int) -> None:
    writer.add_type("model")
    writer.add_name(_model_name(model.checkpoint.source))
    writer.add_size_label(size_label(model.checkpoint.parameters, 0, 0, 0))
    stated = dict(read_licence(model.checkpoint.auxiliary_folder).front_matter)
    for key, add in (
        ("license", writer.add_license),
        ("license_name", writer.add_license_name),
        ("license_link", writer.add_license_link),
    ):
        add(stated.get(key, ""))  # an empty one isn't written
    writer.add_file_type(file_type)
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)


def _model_name(source: ModelSource) -> str:
    """Return the folder's name, or the last part of the Hub id; no path of this machine."""
    if source.revision is not None:
        return source.name.partition("@")[0].rpartition("/")[2]
    return (source.adapter or source.path).resolve().name


def _add_architecture_keys(writer: gguf.GGUFWriter, model: ExportModel) -> None:
    config = model.config
    shape = model.shape
    head_dim = model.structure.layers[0].head_dim
    heads = [layer.query_heads for layer in shape.layers]
    key_heads = [layer.groups["attention"] for layer in shape.layers]
    channels = [layer.groups["mlp"] for layer in shape.layers]
    by_layer = shape.form.by_layer
    writer.add_block_count(len(shape.layers))
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(model.traits.hidden_size)
    writer.add_head_count(heads if by_layer else heads[0])
    writer.add_head_count_kv(key_heads if by_layer else key_heads[0])
    writer.add_feed_forward_length(channels if by_layer else channels[0])
    writer.add_key_length(head_dim)  # else llama.cpp divides the hidden size by the heads
    writer.add_value_length(head_dim)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_vocab_size(model.rows)
    add_rope(writer, model.rope, head_dim)


def _warnings(
    model: ExportModel, tensors: tuple[GgufTensor, ...], numbers: NumberFormat
) -> Iterator[str]:
    """Yield what in the file differs from what its reader would expect."""
    yield from model.shape.padding_notes(model.traits.hidden_size)
    written = {layer.layer_idx for layer in model.shape.layers}
    if gone := IndexSet.of(set(range(len(model.structure.layers))) - written):
        yield f"layer{'s' * (len(gone) > 1)} {gone}: nothing is left of it, so it isn't written."
    if wide := unquantised_names(numbers, tensors):
        yield (
            f"{first_few(wide, 3)}: rows are no multiple of 32, so they stay f16; plan with "
            "--for llama.cpp to have all quantised."
        )


def _size_warnings(model: ExportModel, file_bytes: int) -> Iterator[str]:
    """Yield where the file is larger than the size that the model was planned for."""
    source = model.checkpoint.source
    path = source.path / RECORDS_FOLDER / PLAN_FILE
    if source.adapter is not None or not path.is_file():
        return
    with suppress(ArtifactError):
        target = read_plan(path).target
        if target is not None and target.size is not None and file_bytes > target.size:
            yield (
                f"the plan of this model allows {target.size:,} bytes at most, which is a promise "
                f"for the folder that gp apply wrote; this file takes {file_bytes:,}."
            )
