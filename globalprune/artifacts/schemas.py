"""The JSON Schemas of our files, for editors and other programs.

`python -m globalprune.artifacts.schemas FOLDER` writes them; a test compares them with schemas/.
"""

import json
import sys
from pathlib import Path
from typing import Any

from globalprune.artifacts.analyses.analysis import AnalysisRecord
from globalprune.artifacts.disk import write_atomically
from globalprune.artifacts.evaluations.evaluation import Comparison
from globalprune.artifacts.evaluations.latency import MachineRecord
from globalprune.artifacts.evaluations.sweep import Sweep
from globalprune.artifacts.plans.plan import PrunePlan
from globalprune.artifacts.records import Record
from globalprune.artifacts.results.finetuning import FinetuneRecord
from globalprune.artifacts.results.metrics import ApplyMetrics

PLAN_SCHEMA_FILE = "plan.v1.schema.json"
ANALYSIS_SCHEMA_FILE = "analysis.v1.schema.json"
EVALUATION_SCHEMA_FILE = "evaluation.v2.schema.json"
METRICS_SCHEMA_FILE = "metrics.v1.schema.json"
MACHINE_SCHEMA_FILE = "machine.v1.schema.json"
RECOVERY_SCHEMA_FILE = "recovery.v1.schema.json"
SWEEP_SCHEMA_FILE = "sweep.v1.schema.json"
_RECORDS: dict[str, type[Record]] = {
    PLAN_SCHEMA_FILE: PrunePlan,
    ANALYSIS_SCHEMA_FILE: AnalysisRecord,
    EVALUATION_SCHEMA_FILE: Comparison,
    METRICS_SCHEMA_FILE: ApplyMetrics,
    MACHINE_SCHEMA_FILE: MachineRecord,
    RECOVERY_SCHEMA_FILE: FinetuneRecord,
    SWEEP_SCHEMA_FILE: Sweep,
}
_DIALECT = "https://json-schema.org/draft/2020-12/schema"


def schema_texts() -> dict[str, str]:
    """Every schema by its file name, spelled as it stands on disk."""
    return {name: json.dumps(schema_of(name), indent=2) + "\n" for name in _RECORDS}


def schema_of(name: str) -> dict[str, Any]:
    """The schema of one kind of file."""
    title = f"globalprune {name.partition('.')[0]}"
    schema = _RECORDS[name].model_json_schema()
    # a file must say its format; a value in a program may leave it out
    schema["required"] = ["format", *schema["required"]]
    return {"$schema": _DIALECT, **schema, "title": title}


def write_schemas(folder: Path) -> None:
    """Write every schema into `folder`."""
    for name, text in schema_texts().items():
        write_atomically(folder / name, text)


if __name__ == "__main__":
    write_schemas(Path(sys.argv[1]))
