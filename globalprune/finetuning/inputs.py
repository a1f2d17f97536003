"""What is trained: the student, the teacher, and the training windows."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch.utils.data import Dataset
from transformers import PreTrainedTokenizerBase

from globalprune.artifacts.records import digest_bytes
from globalprune.artifacts.results.finetuning import (
    FINETUNE_FILE,
    FinetuneSettings,
    TrainingSource,
    WeightsReference,
    read_finetune_record,
)
from globalprune.errors import CheckpointError, UsageError
from globalprune.models.checkpoints.checkpoint import Checkpoint
from globalprune.models.checkpoints.fingerprint import weights_fingerprint
from globalprune.models.checkpoints.identity import ModelIdentity, identify_model
from globalprune.models.checkpoints.open import open_checkpoint
from globalprune.models.checkpoints.output_folder import records_folder
from globalprune.models.configs.config import ConfigSizes
from globalprune.models.loading import load_tokenizer
from globalprune.models.sources.source import resolve_model
from globalprune.progress import Progress, silent
from globalprune.text.rows import Column
from globalprune.text.source import parse_mixture
from globalprune.text.token_rows import IGNORED_LABEL
from globalprune.text.training import TrainingText, training_texts

TrainingExample = dict[str, torch.Tensor]


class TrainingWindows(Dataset[TrainingExample]):
    """The windows of all sources, one source behind the other; Trainer shuffles them."""

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
        """Tokens that the loss is over, in one epoch."""
        return sum(int((row["labels"][1:] != IGNORED_LABEL).sum()) for row in self._rows)

    @property
    def digest(self) -> str:
        """`sha256:…` of every id and label, in order, and of the windows' lengths."""
        lengths = torch.tensor([len(row["input_ids"]) for row in self._rows])
        values = (value for row in self._rows for value in row.values())
        return digest_bytes(*(value.numpy().tobytes() for value in (lengths, *values)))


def _ignore_first(labels: torch.Tensor) -> torch.Tensor:
    """The labels without the first, which nothing predicts: some Trainers would count it."""
    return torch.cat([labels.new_full((1,), IGNORED_LABEL), labels[1:]])


def collate(rows: Sequence[TrainingExample]) -> TrainingExample:
    """A batch `[B, T]` of rows of equal length."""
    return {name: torch.stack([row[name] for row in rows]) for name in rows[0]}


@dataclass(frozen=True)
class OpenedModel:
    """A model on disk, known by its weights; nothing of it is loaded."""

    checkpoint: Checkpoint
    known: WeightsReference
    identity: ModelIdentity
    vocab_size: int


@dataclass(frozen=True)
class TrainingData:
    """The text of a run as windows, and what its record says of it."""

    windows: TrainingWindows
    data: tuple[TrainingSource, ...]
    warnings: tuple[str, ...]


def open_student(name: str, progress: Progress = silent) -> OpenedModel:
    """Open a model; raise `CheckpointError` for one that can't be trained as it stands."""
    source = resolve_model(name)
    if source.is_gguf:
        raise CheckpointError(
            f"{name}: a .gguf file holds quantised weights, which can't be trained; make a folder "
            "of it first: gp apply with an empty plan (`layers: {}`) writes one."
        )
    checkpoint = open_checkpoint(source)
    earlier = records_folder(source) / FINETUNE_FILE
    if earlier.exists():
        read_finetune_record(earlier)  # it is to be carried on; what can't be is refused now
    known = WeightsReference(
        source=source.name, revision=source.revision, weights=weights_fingerprint(checkpoint)
    )
    identity = identify_model(source, progress)
    return OpenedModel(
        checkpoint, known, identity, ConfigSizes(checkpoint.config, name).require("vocab_size")
    )


def open_teacher(name: str, pupil: OpenedModel, progress: Progress = silent) -> OpenedModel:
    """Open the teacher; raise `UsageError` unless it speaks the pupil's tokens."""
    teacher = open_student(name, progress)
    theirs, ours = (load_tokenizer(one.checkpoint.source.path) for one in (teacher, pupil))
    if teacher.vocab_size != pupil.vocab_size or theirs.get_vocab() != ours.get_vocab():
        raise UsageError(
            f"--teacher {name}: has another tokenizer than {pupil.known.source} "
            f"({teacher.vocab_size} and {pupil.vocab_size} tokens), so their next tokens can't be "
            "compared; name the model that was pruned."
        )
    return teacher


def read_training_data(
    pupil: OpenedModel, sources: Sequence[str], settings: FinetuneSettings, progress: Progress
) -> TrainingData:
    """Read the text and cut it into windows."""
    longest = pupil.checkpoint.config.get("max_position_embeddings")
    if longest is not None and settings.seq_len > longest:
        raise UsageError(
            f"windows of {settings.seq_len} tokens to learn from: the model was made for {longest} "
            f"positions; say --seq-len {longest} at most (--finetune-seq-len of gp apply and gp "
            "prune)."
        )
    load = partial(load_tokenizer, pupil.checkpoint.source.path)
    texts = training_texts(
        sources,
        load,
        vocab_size=pupil.vocab_size,
        samples=settings.samples,
        seq_len=settings.seq_len,
        seed=settings.seed,
        progress=progress,
    )
    windows = TrainingWindows(texts)
    if not windows.learned_tokens:
        raise UsageError("--data: no window has a token to learn; give other text.")
    warnings = (*_warn_of_few_rows(texts), *_warn_of_plain_text(texts, load))
    return TrainingData(windows, _data(sources, texts), warnings)


def _data(sources: Sequence[str], texts: Sequence[TrainingText]) -> tuple[TrainingSource, ...]:
    """The sources as the record keeps them."""
    weights = [part.weight for part in parse_mixture(sources)] or [1.0]
    return tuple(
        TrainingSource(text=text.record, weight=weight, is_chat=text.kind is Column.MESSAGES)
        for text, weight in zip(texts, weights, strict=True)
    )


def _warn_of_few_rows(texts: Sequence[TrainingText]) -> Iterator[str]:
    """Say where a source of ids has fewer rows than were asked of it."""
    for text in texts:
        if text.record.samples < text.samples:
            yield (
                f"{text.record.source}: has {text.record.samples} rows of `input_ids`, and "
                f"{text.samples} windows were asked of it; all of them are learned."
            )


def _warn_of_plain_text(
    texts: Sequence[TrainingText],
    load_tokenizer: Callable[[], PreTrainedTokenizerBase],
) -> Iterator[str]:
    """Say that a model with a chat template is about to learn plain text alone."""
    kinds = {text.kind for text in texts}
    if Column.MESSAGES in kinds or Column.TEXT not in kinds:
        return
    if load_tokenizer().chat_template is not None:
        yield (
            "the model has a chat template, and all of the text is plain: finetuning on it may "
            "cost the model its manners. Mix in conversations (a source with a column "
            "`messages`), or look at its answers afterwards."
        )
