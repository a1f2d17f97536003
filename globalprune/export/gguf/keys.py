"""What a GGUF file says of the model beside its tensors and its tokenizer."""

import gguf
from gguf.utility import size_label

from globalprune.card.licences import licence_of
from globalprune.export.gguf.rope import add_rope
from globalprune.export.gguf.subject import Subject
from globalprune.models.sources.source import ModelSource


def add_keys(writer: gguf.GGUFWriter, subject: Subject, file_type: int) -> None:
    """Write the general keys and those of the architecture."""
    _add_general(writer, subject, file_type)
    _add_architecture(writer, subject)


def _add_general(writer: gguf.GGUFWriter, subject: Subject, file_type: int) -> None:
    writer.add_type("model")
    writer.add_name(_name(subject.checkpoint.source))
    writer.add_size_label(size_label(subject.checkpoint.parameters, 0, 0, 0))
    stated = dict(licence_of(subject.checkpoint.companions).front_matter)
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


def _add_architecture(writer: gguf.GGUFWriter, subject: Subject) -> None:
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
