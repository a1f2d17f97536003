"""What is trained and in which precision: the student, the teacher, and the training windows."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, cast

import torch
from torch.utils.data import Dataset

from globalprune.artifacts.records import digest_bytes
from globalprune.artifacts.results.finetuning import (
    FINETUNE_FILE,
    FinetuneSettings,
    Method,
    TrainingSource,
    WeightsReference,
    read_finetune_record,
)
from globalprune.errors import CheckpointError, UsageError
from globalprune.models.checkpoints.output_folder import records_folder
from globalprune.models.placement import DTYPES, choose_placement
from globalprune.models.prepared_model import PreparedModel
from globalprune.progress import Progress, silent
from globalprune.text.rows import IGNORED_LABEL, Column
from globalprune.text.source import parse_mixture
from globalprune.text.training import TrainingText, training_texts

TrainingExample = dict[str, torch.Tensor]
PrecisionName = Literal["float32", "bfloat16", "float16"]


class TrainingWindows(Dataset[TrainingExample]):
    """The windows of all sources in order; Trainer shuffles them."""

    def __init__(self, texts: Sequence[TrainingText]) -> None:
        self._rows = [
            {"input_ids": ids, "labels": _ignore_first(labels)}
            for text in texts
            for ids, labels in zip(text.rows, text.labels, strict=True)
        ]

    def __len__(self) -> int:
        """The number of windows."""
        return len(self._rows)

    def __getitem__(self, index: int) -> TrainingExample:
        """One window: its ids `[T]`, and its labels `[T]`."""
        return self._rows[index]

    @property
    def is_ragged(self) -> bool:
        """Whether the windows differ in length, so that no two can be stacked."""
        return len({len(row["input_ids"]) for row in self._rows}) > 1

    @property
    def learned_tokens(self) -> int:
        """The tokens that the loss counts, in one epoch."""
        return sum(int((row["labels"][1:] != IGNORED_LABEL).sum()) for row in self._rows)

    @property
    def digest(self) -> str:
        """`sha256:…` of every id and label, in order, and of the windows' lengths."""
        lengths = torch.tensor([len(row["input_ids"]) for row in self._rows])
        values = (value for row in self._rows for value in row.values())
        return digest_bytes(*(value.numpy().tobytes() for value in (lengths, *values)))


@dataclass(frozen=True)
class Precision:
    """The precision that Trainer and accelerate train in, and the dtypes that models load in."""

    name: PrecisionName
    on_cpu: bool
    weights: torch.dtype  # of the model that is trained
    frozen: torch.dtype  # of a teacher


@dataclass(frozen=True)
class TrainingData:
    """The text of a run as windows, and its sources as the record names them."""

    windows: TrainingWindows
    data: tuple[TrainingSource, ...]
    warnings: tuple[str, ...]


def choose_precision(device: str | None, dtype: str | None, method: Method) -> Precision:
    """Choose float32 on a CPU and bfloat16 on a GPU, unless `dtype` says otherwise.

    Full finetuning keeps its weights in float32. LoRA trains only the adapters, which peft keeps in
    float32, so the frozen weights have the precision's own dtype. Raise `UsageError` for a device
    or a dtype that can't be trained on.
    """
    kind = (device or "").partition(":")
    if device is not None and device not in ("cpu", "cuda"):
        raise UsageError(
            f"--device {device}: finetuning takes cpu or cuda; choose among GPUs with "
            f"CUDA_VISIBLE_DEVICES={kind[2] or '0'}, and use several with accelerate launch."
        )
    placement = choose_placement(device, dtype)
    on_cpu = placement.device == "cpu"
    name = dtype or ("float32" if on_cpu else "bfloat16")
    if on_cpu and name == "float16":
        raise UsageError("--dtype float16: can't be trained in on a cpu; say float32.")
    weights = torch.float32 if method == "full" else DTYPES[name]
    return Precision(cast("PrecisionName", name), on_cpu, weights, DTYPES[name])


def check_student(model: PreparedModel) -> None:
    """Raise `CheckpointError` for a model that can't be trained as it stands."""
    if model.source.is_gguf:
        raise CheckpointError(
            f"{model.name}: a .gguf file holds quantised weights, which can't be trained; make a "
            "folder of it first: gp apply with an empty plan (`layers: {}`) writes one."
        )
    earlier = records_folder(model.source) / FINETUNE_FILE
    if earlier.exists():
        read_finetune_record(earlier)  # new runs are added to it, so a broken one is refused now
    _ = model.vocab_size


def check_teacher(teacher: PreparedModel, student: PreparedModel) -> None:
    """Raise `UsageError` unless the teacher has the student's tokens."""
    check_student(teacher)
    digests = {teacher.tokenizer_digest, student.tokenizer_digest}
    same_tokens = (len(digests) == 1 and None not in digests) or (
        teacher.tokenizer.get_vocab() == student.tokenizer.get_vocab()
    )
    if teacher.vocab_size != student.vocab_size or not same_tokens:
        raise UsageError(
            f"--teacher {teacher.name}: has another tokenizer than {student.name} "
            f"({teacher.vocab_size} and {student.vocab_size} tokens), so their next tokens can't "
            "be compared; name the model that was pruned."
        )


def weights_reference(model: PreparedModel) -> WeightsReference:
    """The name of a model and the fingerprint of its weights."""
    source = model.source
    return WeightsReference(source=source.name, revision=source.revision, weights=model.weights())


def read_training_data(
    student: PreparedModel,
    sources: Sequence[str],
    settings: FinetuneSettings,
    texts: Sequence[TrainingText] | None = None,
    progress: Progress = silent,
) -> TrainingData:
    """Read the text and cut it into windows; `texts` are those that were cut already."""
    longest = student.checkpoint.config.get("max_position_embeddings")
    if longest is not None and settings.seq_len > longest:
        raise UsageError(
            f"windows of {settings.seq_len} tokens to learn from: the model was made for {longest} "
            f"positions; say --seq-len {longest} at most (--finetune-seq-len of gp apply and gp "
            "prune)."
        )
    if texts is None:
        texts = training_texts(
            sources,
            student.load_tokenizer,
            vocab_size=student.vocab_size,
            samples=settings.samples,
            seq_len=settings.seq_len,
            seed=settings.seed,
            progress=progress,
        )
    windows = TrainingWindows(texts)
    if not windows.learned_tokens:
        raise UsageError("--data: no window has a token to learn; give other text.")
    warnings = (*_warn_of_few_rows(texts), *_warn_of_plain_text(texts, student))
    return TrainingData(windows, _data(sources, texts), warnings)


def collate(rows: Sequence[TrainingExample]) -> TrainingExample:
    """A batch `[B, T]` of rows of equal length."""
    return {name: torch.stack([row[name] for row in rows]) for name in rows[0]}


def _ignore_first(labels: torch.Tensor) -> torch.Tensor:
    """The labels with the first ignored: nothing predicts it, but some Trainers count it."""
    return torch.cat([labels.new_full((1,), IGNORED_LABEL), labels[1:]])


def _data(sources: Sequence[str], texts: Sequence[TrainingText]) -> tuple[TrainingSource, ...]:
    """The sources as the record keeps them."""
    weights = [part.weight for part in parse_mixture(sources)] or [1.0]
    return tuple(
        TrainingSource(text=text.record, weight=weight, is_chat=text.kind is Column.MESSAGES)
        for text, weight in zip(texts, weights, strict=True)
    )


def _warn_of_few_rows(texts: Sequence[TrainingText]) -> Iterator[str]:
    """Warn of a source of ids that has fewer rows than its share of windows."""
    for text in texts:
        if text.record.samples < text.samples:
            yield (
                f"{text.record.source}: has {text.record.samples} rows of `input_ids`, and "
                f"{text.samples} windows were asked of it; all of them are learned."
            )


def _warn_of_plain_text(texts: Sequence[TrainingText], student: PreparedModel) -> Iterator[str]:
    """Warn if a model with a chat template is finetuned on plain text alone."""
    kinds = {text.kind for text in texts}
    if Column.MESSAGES in kinds or Column.TEXT not in kinds:
        return
    if student.tokenizer.chat_template is not None:
        yield (
            "the model has a chat template, and all of the text is plain: after finetuning on "
            "it, the model may answer worse in conversations. Mix in conversations (a source with "
            "a column `messages`), or look at its answers afterwards."
        )
