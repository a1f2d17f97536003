"""What the records of a result say, as the facts of a model card."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from globalprune.artifacts.analyses.analysis import ANALYSIS_FILE, AnalysisRecord
from globalprune.artifacts.command import Command, with_plan
from globalprune.artifacts.evaluations.evaluation import Comparison
from globalprune.artifacts.evaluations.evaluation_files import EVALUATION_FILE
from globalprune.artifacts.plans.plan_file import PLAN_FILE
from globalprune.artifacts.records import OWN_FOLDER, Record
from globalprune.artifacts.results.compensation import COMPENSATION_FILE, CompensationRecord
from globalprune.artifacts.results.finetuning import FINETUNE_FILE, FinetuneRecord, FinetuneRun
from globalprune.artifacts.results.metrics import METRICS_FILE, ApplyMetrics
from globalprune.card.licences import Licence, licence_of

Kind = TypeVar("Kind", bound=Record)


@dataclass(frozen=True)
class ModelRecords:
    """What each phase wrote about one model; None is a phase that has not run."""

    analysis: AnalysisRecord | None = None
    cut: ApplyMetrics | None = None
    compensation: CompensationRecord | None = None
    recovery: FinetuneRecord | None = None
    evaluation: Comparison | None = None

    @property
    def runs(self) -> tuple[FinetuneRun, ...]:
        """Every finetuning."""
        return self.recovery.runs if self.recovery else ()


def read_records(folder: Path) -> ModelRecords:
    """Read what lies in a model's folder; a file that is no such record counts as none."""
    own = folder / OWN_FOLDER
    return ModelRecords(
        analysis=_read(own / ANALYSIS_FILE, AnalysisRecord),
        cut=_read(own / METRICS_FILE, ApplyMetrics),
        compensation=_read(own / COMPENSATION_FILE, CompensationRecord),
        recovery=_read(own / FINETUNE_FILE, FinetuneRecord),
        evaluation=_read(own / EVALUATION_FILE, Comparison),
    )


def _read(path: Path, kind: type[Kind]) -> Kind | None:
    try:
        return kind.model_validate_json(path.read_text(encoding="utf-8"))
    except (OSError, ValidationError):
        return None


_ABSOLUTE = ("/", "~")
_LICENCE_WORDS = ("licen", "notice", "use_policy")


@dataclass(frozen=True)
class CardFacts:
    """All that the card says."""

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
        """The base's id on the Hub, without the revision and the file that were named."""
        owner, *rest = self.base.split("/")
        return "/".join([owner, *rest[:1]]).partition("@")[0]

    @property
    def commands(self) -> tuple[Command, ...]:
        """The commands that made the model, in order; absolute paths by their last part."""
        public = (tuple(map(last_part, one)) for one in self._commands() if one)
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
            yield with_plan(records.cut.command, f"{OWN_FOLDER}/{PLAN_FILE}")
        for run in records.runs:
            yield run.command
        if records.evaluation:
            yield records.evaluation.command


def gather_facts(folder: Path, *, name: str, licence_from: Path | None) -> CardFacts:
    """Read a result's records, and its base model's licence."""
    records = read_records(folder)
    source, revision = _origin(records)
    texts = licence_files(folder)
    on_hub = revision is not None  # a local path says too much in a card that is published
    return CardFacts(
        name=name,
        base=source if on_hub else Path(source).expanduser().resolve().name,
        base_is_on_hub=on_hub,
        licence=licence_of(licence_from, texts),
        licence_files=texts,
        uneven=(folder / "modeling_globalprune.py").exists(),
        is_adapter=(folder / "adapter_config.json").exists(),
        records=records,
    )


def licence_files(folder: Path) -> tuple[str, ...]:
    """Of a folder's files, those that hold the licence or its conditions."""
    names = sorted(path.name for path in folder.iterdir() if path.is_file())
    return tuple(name for name in names if any(word in name.lower() for word in _LICENCE_WORDS))


def _origin(records: ModelRecords) -> tuple[str, str | None]:
    """The model that all this began with, and its revision."""
    if records.cut:
        first = records.cut.begun_with
        return first.source, first.revision
    if records.runs:
        return records.runs[0].model.source, records.runs[0].model.revision
    return "a model", None


def last_part(text: str) -> str:
    """Text in which an absolute path is shown by its last part: the rest tells of a machine."""
    option, equals, path = text.partition("=") if text.startswith("-") else ("", "", text)
    parts = path.rstrip("/").rpartition("/")
    return option + equals + (parts[2] if path.startswith(_ABSOLUTE) and parts[1] else path)
