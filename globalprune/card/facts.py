"""The facts of a model card, from the records of a result."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeVar

from pydantic import ValidationError

from globalprune.artifacts.analyses.analysis import ANALYSIS_FILE, AnalysisRecord
from globalprune.artifacts.evaluations.evaluation import Comparison
from globalprune.artifacts.evaluations.evaluation_table import EVALUATION_FILE
from globalprune.artifacts.plans.plan_file import PLAN_FILE
from globalprune.artifacts.records import RECORDS_FOLDER, Command, Record, with_plan
from globalprune.artifacts.results.cut import (
    COMPENSATION_FILE,
    METRICS_FILE,
    ApplyMetrics,
    CompensationRecord,
)
from globalprune.artifacts.results.finetuning import FINETUNE_FILE, FinetuneRecord, FinetuneRun
from globalprune.card.licences import Licence, read_licence

_ABSOLUTE: Final = ("/", "~")
_LICENCE_WORDS: Final = ("licen", "notice", "use_policy")
RecordT = TypeVar("RecordT", bound=Record)


@dataclass(frozen=True)
class ModelRecords:
    """The record of each phase about one model; None is a phase that has not run."""

    analysis: AnalysisRecord | None = None
    cut: ApplyMetrics | None = None
    compensation: CompensationRecord | None = None
    finetuning: FinetuneRecord | None = None
    evaluation: Comparison | None = None

    @property
    def runs(self) -> tuple[FinetuneRun, ...]:
        """Return every finetuning, in order."""
        return self.finetuning.runs if self.finetuning else ()


@dataclass(frozen=True)
class CardFacts:
    """Everything that a card states."""

    name: str
    base: str
    base_is_on_hub: bool
    licence: Licence
    licence_files: tuple[str, ...] = ()
    uneven: bool = False
    is_adapter: bool = False
    records: ModelRecords = field(default_factory=ModelRecords)

    @property
    def base_id(self) -> str:
        """Return the base's id on the Hub, without a revision and a file name."""
        owner, *rest = self.base.split("/")
        return "/".join([owner, *rest[:1]]).partition("@")[0]

    @property
    def commands(self) -> tuple[Command, ...]:
        """The commands that made the model, in order, without the folders of absolute paths."""
        public = (tuple(map(public_path, command)) for command in self._commands() if command)
        return tuple(dict.fromkeys(public))  # gp prune is one command for every phase

    def _commands(self) -> Iterator[Command]:
        records = self.records
        for step in records.cut.earlier if records.cut else ():
            yield step.measured_by
            yield step.command
        if records.analysis:
            yield records.analysis.command
        if records.cut:
            # the plan as it was applied lies here, edits and all; the one it came from may not
            yield with_plan(records.cut.command, f"{RECORDS_FOLDER}/{PLAN_FILE}")
        for run in records.runs:
            yield run.command
        if records.evaluation:
            yield records.evaluation.command


def gather_facts(folder: Path, *, name: str, licence_from: Path | None) -> CardFacts:
    """Read a result's records, and the licence of the model in `licence_from`."""
    records = read_records(folder)
    source, revision = _origin(records)
    texts = licence_files(folder)
    on_hub = revision is not None  # a local path says too much in a card that is published
    return CardFacts(
        name=name,
        base=source if on_hub else Path(source).expanduser().resolve().name,
        base_is_on_hub=on_hub,
        licence=read_licence(licence_from, texts),
        licence_files=texts,
        uneven=(folder / "modeling_globalprune.py").exists(),
        is_adapter=(folder / "adapter_config.json").exists(),
        records=records,
    )


def read_records(folder: Path) -> ModelRecords:
    """Read the records in a model's folder; a file that is no such record counts as none."""
    own = folder / RECORDS_FOLDER
    return ModelRecords(
        analysis=_read(own / ANALYSIS_FILE, AnalysisRecord),
        cut=_read(own / METRICS_FILE, ApplyMetrics),
        compensation=_read(own / COMPENSATION_FILE, CompensationRecord),
        finetuning=_read(own / FINETUNE_FILE, FinetuneRecord),
        evaluation=_read(own / EVALUATION_FILE, Comparison),
    )


def licence_files(folder: Path) -> tuple[str, ...]:
    """Return the files of a folder that hold a licence or its conditions, by name."""
    names = sorted(path.name for path in folder.iterdir() if path.is_file())
    return tuple(name for name in names if any(word in name.lower() for word in _LICENCE_WORDS))


def public_path(text: str) -> str:
    """Text in which an absolute path is replaced by its last part: the rest tells of a machine."""
    option, equals, path = text.partition("=") if text.startswith("-") else ("", "", text)
    parts = path.rstrip("/").rpartition("/")
    return option + equals + (parts[2] if path.startswith(_ABSOLUTE) and parts[1] else path)


def _read(path: Path, kind: type[RecordT]) -> RecordT | None:
    try:
        return kind.model_validate_json(path.read_text(encoding="utf-8"))
    except (OSError, ValidationError):
        return None


def _origin(records: ModelRecords) -> tuple[str, str | None]:
    """Return the source and the revision of the model that was there before gp changed anything."""
    if records.cut:
        first = records.cut.original_model
        return first.source, first.revision
    if records.runs:
        return records.runs[0].model.source, records.runs[0].model.revision
    return "a model", None
