"""Every file that gp writes, listed: what `--overwrite` may replace, and the JSON Schemas.

The names are gathered here from the modules that write the files. A plan that a person edited is
theirs, whatever its name. `python -m globalprune.artifacts.own_files FOLDER` writes the schemas,
which are for editors and other programs; a test compares them with schemas/.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from globalprune.artifacts.analyses.analysis import ANALYSIS_FILE, AnalysisRecord
from globalprune.artifacts.analyses.group_table_file import TABLE_FILE
from globalprune.artifacts.analyses.loss_curves import CURVES_FILE
from globalprune.artifacts.disk import is_temporary, write_atomically
from globalprune.artifacts.evaluations.evaluation import Comparison
from globalprune.artifacts.evaluations.evaluation_table import (
    EVALUATION_CSV,
    EVALUATION_FILE,
    EVALUATION_MARKDOWN,
)
from globalprune.artifacts.evaluations.latency_table import MachineRecord
from globalprune.artifacts.evaluations.sweep import Sweep
from globalprune.artifacts.plans.plan import PrunePlan
from globalprune.artifacts.plans.plan_file import (
    PLAN_FILE,
    PLAN_SCHEMA_FILE,
    has_comments,
    read_plan,
)
from globalprune.artifacts.records import Record, json_schema
from globalprune.artifacts.results.cut import (
    COMPENSATION_FILE,
    METRICS_FILE,
    ApplyMetrics,
    read_metrics,
)
from globalprune.artifacts.results.finetuning import FINETUNE_FILE, LOSS_FILE, FinetuneRecord
from globalprune.errors import ArtifactError

ORIGIN_FILE: Final = "origin.parquet"
DESCRIPTION_FILE: Final = "description.txt"
ANALYZE_LOG: Final = "analyze.log"
APPLY_LOG: Final = "apply.log"
ROUNDS_FOLDER: Final = "rounds"

# the record is last: it vouches for the table, by its digest
ANALYSIS_FILES: Final = (TABLE_FILE, CURVES_FILE, DESCRIPTION_FILE, ANALYZE_LOG, ANALYSIS_FILE)
ANALYSIS_MARKERS: Final = (ANALYSIS_FILE, TABLE_FILE)  # no other tool has files of these names
RECORDS: Final = frozenset(
    (
        *ANALYSIS_FILES,
        PLAN_SCHEMA_FILE,
        ORIGIN_FILE,
        METRICS_FILE,
        COMPENSATION_FILE,
        FINETUNE_FILE,
        LOSS_FILE,
        APPLY_LOG,
        EVALUATION_FILE,
        EVALUATION_CSV,
        EVALUATION_MARKDOWN,
    )
)
ANALYSIS_SCHEMA_FILE: Final = "analysis.v1.schema.json"
EVALUATION_SCHEMA_FILE: Final = "evaluation.v2.schema.json"
MACHINE_SCHEMA_FILE: Final = "machine.v1.schema.json"
_SCHEMAS: Final[dict[str, type[Record]]] = {
    PLAN_SCHEMA_FILE: PrunePlan,
    ANALYSIS_SCHEMA_FILE: AnalysisRecord,
    EVALUATION_SCHEMA_FILE: Comparison,
    "metrics.v1.schema.json": ApplyMetrics,
    MACHINE_SCHEMA_FILE: MachineRecord,
    "recovery.v1.schema.json": FinetuneRecord,
    "sweep.v1.schema.json": Sweep,
}
_PLANS: Final = (".yaml", ".yml")
_ROUND_DEPTH: Final = 2  # rounds/NN/


def foreign_files(folder: Path, depth: int = _ROUND_DEPTH) -> Iterator[str]:
    """Yield the files among the records of a result that no phase wrote, by name."""
    for path in sorted(folder.iterdir()):
        if path.is_dir() and depth and (path.name == ROUNDS_FOLDER or path.name.isdigit()):
            yield from (f"{path.name}/{name}" for name in foreign_files(path, depth - 1))
        elif path.name not in RECORDS and not is_temporary(path.name) and not _is_own_plan(path):
            yield path.name


def schema_of(name: str) -> dict[str, Any]:
    """Return the JSON Schema that is shipped under that file name."""
    return json_schema(_SCHEMAS[name], name)


def schema_texts() -> dict[str, str]:
    """Return every schema by its file name, as the text of that file."""
    return {name: json.dumps(schema_of(name), indent=2) + "\n" for name in _SCHEMAS}


def write_schemas(folder: Path) -> None:
    """Write every schema into `folder`."""
    for name, text in schema_texts().items():
        write_atomically(folder / name, text)


def _is_own_plan(path: Path) -> bool:
    """Return whether gp wrote a plan, or applied it, and nobody edited it since."""
    if path.suffix not in _PLANS or not path.is_file():
        return False
    try:
        plan = read_plan(path)
        if not plan.edited and not has_comments(path):
            return True
        metrics = path.with_name(METRICS_FILE)
        was_applied = path.name == PLAN_FILE and metrics.is_file()
        return was_applied and read_metrics(metrics).plan == plan.decisions_digest()
    except ArtifactError:
        return False


if __name__ == "__main__":
    write_schemas(Path(sys.argv[1]))
