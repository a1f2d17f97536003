"""What a finetuning leaves: weights or adapter, auxiliary files, records."""

import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

import torch

from globalprune.artifacts.records import RECORDS_FOLDER, tool_versions, write_record
from globalprune.artifacts.results.finetuning import (
    FINETUNE_FILE,
    LOSS_FILE,
    FinetuneRecord,
    FinetuneRun,
    FinetuneSettings,
    LossPoint,
    WeightsReference,
    read_finetune_record,
    write_loss_curve,
)
from globalprune.card.model_card import write_card
from globalprune.errors import NonFiniteError, VerificationFailed
from globalprune.finetuning.inputs import TrainingData
from globalprune.finetuning.training_run import TrainingResult
from globalprune.models import modeling_globalprune
from globalprune.models.checkpoints.checkpoint import Checkpoint
from globalprune.models.checkpoints.identity import weights_fingerprint
from globalprune.models.checkpoints.lora_checkpoint import ADAPTER_WEIGHTS
from globalprune.models.checkpoints.open import open_checkpoint
from globalprune.models.checkpoints.output_folder import (
    copy_auxiliary_file,
    list_auxiliary_files,
    records_folder,
)
from globalprune.models.checkpoints.shard_writer import ShardWriter
from globalprune.models.configs.config import write_config
from globalprune.models.configs.native_config import MODELING_FILE, is_uneven
from globalprune.models.sources.hub import ADAPTER_CONFIG
from globalprune.models.sources.source import ModelSource

TORCH_DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
}
TensorReader = Callable[[str], torch.Tensor]
_RISE = 1.0  # nats; single windows differ by less


@dataclass(frozen=True)
class RunFacts:
    """What the record of a run says, beside its weights."""

    model: WeightsReference
    teacher: WeightsReference | None
    settings: FinetuneSettings
    data: TrainingData
    trained: TrainingResult
    seconds: float
    command: Sequence[str]


def write_model(base: Checkpoint, read: TensorReader, folder: Path) -> None:
    """Write the tensors of `base` with the values of `read`, and config and auxiliary files."""
    writer = ShardWriter(folder, {name: info.bytes for name, info in base.tensors.items()})
    for name, info in base.tensors.items():
        value = read(name).to(TORCH_DTYPES[info.dtype]).contiguous()
        if value.shape != info.shape:
            raise VerificationFailed(
                f"{name}: was trained as {list(value.shape)}, and should be {list(info.shape)}; "
                "this is a fault of globalprune, please report it."
            )
        if not value.isfinite().all():
            raise NonFiniteError(
                f"{name}: is not finite in {info.dtype} after training; say a smaller --lr."
            )
        writer.put(name, value)
    writer.finish()
    write_config(base.config, base.source.path, folder)
    if is_uneven(base.config):
        shutil.copyfile(Path(modeling_globalprune.__file__), folder / f"{MODELING_FILE}.py")
    copy_auxiliary_files(base, folder)


def write_adapter(base: Checkpoint, trained: Path, folder: Path) -> None:
    """Copy the adapter, with the name of its base model, and the auxiliary files."""
    shutil.copyfile(trained / ADAPTER_WEIGHTS, folder / ADAPTER_WEIGHTS)
    config = json.loads((trained / ADAPTER_CONFIG).read_text(encoding="utf-8"))
    source = base.source
    on_hub = source.revision is not None
    config["base_model_name_or_path"] = (
        source.name.partition("@")[0] if on_hub else str(source.path.resolve())
    )
    config["revision"] = source.revision
    text = json.dumps(config, indent=2, sort_keys=True) + "\n"
    (folder / ADAPTER_CONFIG).write_text(text, encoding="utf-8")
    copy_auxiliary_files(base, folder)


def copy_auxiliary_files(base: Checkpoint, folder: Path) -> None:
    """Copy the tokenizer, the licence and the like."""
    if base.auxiliary_folder is not None:
        for name in list_auxiliary_files(base.auxiliary_folder):
            copy_auxiliary_file(base.auxiliary_folder, name, folder)


def copy_records(base: Checkpoint, folder: Path) -> None:
    """Copy the records of the model: plan, origin, analysis, logs.

    Its evaluation is not copied: it is of other weights.
    """
    records = records_folder(base.source)
    if records.is_dir():
        others = shutil.ignore_patterns("evaluation.*")
        shutil.copytree(records, folder / RECORDS_FOLDER, ignore=others)
    else:
        (folder / RECORDS_FOLDER).mkdir()


def folder_reader(folder: Path) -> TensorReader:
    """A reader of the tensors in a folder that Trainer saved a model into."""
    return open_checkpoint(ModelSource(str(folder), folder)).read


def describe_run(facts: RunFacts, result: Path | None) -> FinetuneRun:
    """The record of a run; `result` is the folder of the merged model, if there is one."""
    losses = [point.loss for point in facts.trained.curve]
    tenth = max(1, len(losses) // 10)
    weights = None
    if result is not None:
        weights = weights_fingerprint(open_checkpoint(ModelSource(result.name, result)))
    return FinetuneRun(
        model=facts.model,
        teacher=facts.teacher,
        settings=facts.settings,
        data=facts.data.data,
        data_digest=facts.data.windows.digest,
        steps=facts.trained.curve[-1].step,
        learned_tokens=facts.data.windows.learned_tokens,
        trained_parameters=facts.trained.trained_parameters,
        first_loss=fmean(losses[:tenth]),
        last_loss=fmean(losses[-tenth:]),
        processes=facts.trained.processes,
        device=facts.trained.device,
        weights=weights,
        seconds=round(facts.seconds, 3),
        resumed_at=facts.trained.resumed_at,
        command=tuple(facts.command),
        versions=tool_versions("peft", "accelerate"),
        warnings=(*facts.data.warnings, *_warn_of_risen_loss(losses[:tenth], losses[-tenth:])),
    )


def write_run(
    folder: Path, run: FinetuneRun, curve: Sequence[LossPoint], *, base: Checkpoint, name: str
) -> None:
    """Write the records of a run after those of earlier runs, and the model card."""
    own = folder / RECORDS_FOLDER
    path = own / FINETUNE_FILE
    earlier = read_finetune_record(path).runs if path.exists() else ()
    write_record(path, FinetuneRecord(runs=(*earlier, run)))
    write_loss_curve(own / LOSS_FILE, curve)
    write_card(folder, name=name, licence_from=base.auxiliary_folder)


def _warn_of_risen_loss(first: Sequence[float], last: Sequence[float]) -> Iterator[str]:
    """Warn if the loss rose by more than windows differ."""
    before, after = fmean(first), fmean(last)
    if after > before + _RISE:
        yield (
            f"the loss rose from {before:.2f} to {after:.2f}: the model is worse than before; "
            "say a smaller --lr."
        )
