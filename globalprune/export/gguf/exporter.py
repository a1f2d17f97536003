"""From a folder of safetensors, cut or not, to a GGUF file for llama.cpp."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from globalprune.artifacts.disk import refuse_impossible, temporary_file
from globalprune.artifacts.plans.index_set import IndexRanges
from globalprune.artifacts.plans.plan_file import PLAN_FILE, read_plan
from globalprune.artifacts.records import OWN_FOLDER
from globalprune.errors import ArtifactError, UsageError
from globalprune.export.exported import Exported
from globalprune.export.gguf.donor import DonatedVocabulary, read_donor
from globalprune.export.gguf.layout import tensors_of
from globalprune.export.gguf.numbers import Numbers, choose_numbers, unquantised
from globalprune.export.gguf.subject import Subject, find_subject
from globalprune.export.gguf.tensors import GgufTensor
from globalprune.export.gguf.vocabulary import Vocabulary, read_vocabulary
from globalprune.export.gguf.writing import write_gguf
from globalprune.models.checkpoints.gguf_header import is_gguf
from globalprune.progress import Progress, silent


def export_gguf(
    model: str,
    out: Path,
    *,
    dtype: str | None = None,
    donor: Path | None = None,
    progress: Progress = silent,
) -> Exported:
    """Write a model as a GGUF file that llama.cpp runs as transformers runs the folder.

    `dtype` is f32, f16, bf16 or q8_0, else the checkpoint's own sixteen bits. `donor` is a GGUF
    file of the same model that lends its tokenizer. Raise `UsageError` before any work for what has
    no form there; a file that stands at `out` is replaced only once the new one is whole.
    """
    _refuse_place(out, donor)
    subject = find_subject(model, out)
    numbers = choose_numbers(dtype, subject.stored_dtype)
    tensors = tensors_of(subject)
    vocabulary = _vocabulary(subject, donor)
    with temporary_file(out) as temporary:
        write_gguf(temporary, subject, tensors, vocabulary, numbers=numbers, progress=progress)
    hidden = subject.traits.hidden_size
    layers = subject.shape.layers
    return Exported(
        path=out,
        architecture=subject.shape.form.architecture,
        dtype=numbers.name,
        bytes=out.stat().st_size,
        parameters=subject.checkpoint.parameters,
        padding=subject.shape.padding(hidden),
        padded=tuple((layer.layer_idx, kind) for layer in layers for kind in layer.padded),
        notes=(
            *_notes(subject, tensors, numbers),
            *_promise_notes(subject, out.stat().st_size),
            *vocabulary.notes,
        ),
    )


def _refuse_place(out: Path, donor: Path | None) -> None:
    """Raise `UsageError` unless a GGUF file may be written there."""
    refuse_impossible(out)
    if out.exists() and not is_gguf(out):
        raise UsageError(f"{out}: is there and is no GGUF file; name another with -o.")
    if donor is not None and out.exists() and donor.exists() and out.samefile(donor):
        raise UsageError(f"{out}: is the donor, which is only read; name another with -o.")


def _vocabulary(subject: Subject, donor: Path | None) -> Vocabulary | DonatedVocabulary:
    """The tokenizer that the file gets."""
    if donor is not None:
        return read_donor(donor, subject.rows)
    return read_vocabulary(subject.checkpoint.source.path, subject.rows)


def _promise_notes(subject: Subject, found: int) -> Iterator[str]:
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


def _notes(subject: Subject, tensors: tuple[GgufTensor, ...], numbers: Numbers) -> Iterator[str]:
    """Yield what of the file is not what one would think."""
    yield from subject.shape.told(subject.traits.hidden_size)
    held = {layer.layer_idx for layer in subject.shape.layers}
    if gone := IndexRanges.of(set(range(len(subject.structure.layers))) - held):
        yield f"layer{'s' * (len(gone) > 1)} {gone}: nothing is left of it, so it isn't written."
    if wide := unquantised(numbers, tensors):
        more = f" and {len(wide) - 3} more" if len(wide) > 3 else ""  # noqa: PLR2004
        yield (
            f"{', '.join(wide[:3])}{more}: rows are no multiple of 32, so they stay f16; plan with "
            "--for llama.cpp to have all quantised."
        )
