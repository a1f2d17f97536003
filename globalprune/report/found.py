"""What a path is: a plan, a result, or a folder of an analysis, an evaluation or a sweep."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from globalprune.artifacts.analyses.analysis import ANALYSIS_FILE
from globalprune.artifacts.evaluations.evaluation_files import EVALUATION_FILE
from globalprune.artifacts.evaluations.sweep import SWEEP_FILE
from globalprune.artifacts.records import OWN_FOLDER
from globalprune.artifacts.results.finetuning import RECOVERY_FILE
from globalprune.artifacts.results.metrics import METRICS_FILE
from globalprune.errors import UsageError

Kind = Literal["plan", "result", "records"]
_PLANS: Final = (".yaml", ".yml")
_OF_RESULTS: Final = (METRICS_FILE, RECOVERY_FILE)
_RECORDS: Final = (ANALYSIS_FILE, EVALUATION_FILE, SWEEP_FILE)
_TO_NAME: Final = (
    "name a plan (.yaml), or a folder that gp analyze, gp apply, gp prune, gp finetune, "
    "gp eval -o or gp sweep wrote."
)


@dataclass(frozen=True)
class Found:
    """A path, and where what is told of it lies: a file, or a folder of records."""

    path: Path
    kind: Kind
    place: Path


def found_at(path: Path) -> Found:
    """Find out what a path is; raise `UsageError` where it is nothing to report of."""
    if path.is_file():
        if path.suffix in _PLANS:
            return Found(path, "plan", path)
        remedy = _TO_NAME
        if path.name in (*_RECORDS, *_OF_RESULTS):
            remedy = f"name the folder that it lies in, {path.parent}."
        raise UsageError(f"{path}: is a file and no plan; {remedy}")
    if not path.is_dir():
        raise UsageError(f"{path}: there is no such file or folder; {_TO_NAME}")
    for folder in (path / OWN_FOLDER, path):
        if any((folder / name).is_file() for name in _OF_RESULTS):
            return Found(path, "result", folder)
    if any((path / name).is_file() for name in _RECORDS):
        return Found(path, "records", path)
    raise UsageError(
        f"{path}: holds none of {', '.join(_RECORDS)}, {OWN_FOLDER}/{METRICS_FILE} and "
        f"{OWN_FOLDER}/{RECOVERY_FILE}; {_TO_NAME}"
    )


def names_of(paths: list[Path]) -> list[str]:
    """What each path is called: its last part, and as much before it as tells it from the rest.

    So nothing of where the files lie enters a page that doesn't have to.
    """
    parts = [path.resolve().parts for path in paths]
    names = []
    for own in parts:
        others = [other for other in parts if other != own]
        length = next(
            (
                length
                for length in range(1, len(own))
                if all(other[-length:] != own[-length:] for other in others)
            ),
            len(own),
        )
        names.append(str(Path(*own[-length:])))
    return names
