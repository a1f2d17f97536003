"""Writes a GGUF file tensor by tensor, so that memory holds one of them and never the model."""

from pathlib import Path
from typing import Protocol

import gguf
import numpy as np

from globalprune.export.gguf.keys import add_keys
from globalprune.export.gguf.numbers import Numbers
from globalprune.export.gguf.subject import Subject
from globalprune.export.gguf.tensors import GgufTensor
from globalprune.progress import Progress


class WritesKeys(Protocol):
    """A tokenizer, the model's own or another file's."""

    def add_to(self, writer: gguf.GGUFWriter) -> None:
        """Write its keys."""
        ...


def write_gguf(
    path: Path,
    subject: Subject,
    tensors: tuple[GgufTensor, ...],
    vocabulary: WritesKeys,
    *,
    numbers: Numbers,
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
