"""The JSON Schemas of our files, as editors and other programs check them.

`python -m globalprune.artifacts.json_schemas FOLDER` writes them; schemas/ in the tree is checked
by a test to be what this writes.
"""

import json
import sys
from pathlib import Path
from typing import Any

from globalprune.artifacts.analysis_record import AnalysisRecord
from globalprune.artifacts.disk import write_atomically
from globalprune.artifacts.evaluation_record import Comparison
from globalprune.artifacts.prune_plan import PrunePlan

PLAN_SCHEMA_FILE = "plan.v1.schema.json"
ANALYSIS_SCHEMA_FILE = "analysis.v1.schema.json"
EVALUATION_SCHEMA_FILE = "evaluation.v2.schema.json"
_DIALECT = "https://json-schema.org/draft/2020-12/schema"


def plan_schema() -> dict[str, Any]:
    """The schema of plan.yaml."""
    return {"$schema": _DIALECT, **PrunePlan.model_json_schema(), "title": "globalprune plan"}


def analysis_schema() -> dict[str, Any]:
    """The schema of analysis.json."""
    return {
        "$schema": _DIALECT,
        **AnalysisRecord.model_json_schema(),
        "title": "globalprune analysis",
    }


def evaluation_schema() -> dict[str, Any]:
    """The schema of evaluation.json."""
    return {
        "$schema": _DIALECT,
        **Comparison.model_json_schema(),
        "title": "globalprune evaluation",
    }


def schema_texts() -> dict[str, str]:
    """Every schema by its file name, spelled as it stands on disk."""
    schemas = {
        PLAN_SCHEMA_FILE: plan_schema(),
        ANALYSIS_SCHEMA_FILE: analysis_schema(),
        EVALUATION_SCHEMA_FILE: evaluation_schema(),
    }
    return {name: json.dumps(schema, indent=2) + "\n" for name, schema in schemas.items()}


def write_schemas(folder: Path) -> None:
    """Write every schema into `folder`."""
    for name, text in schema_texts().items():
        write_atomically(folder / name, text)


if __name__ == "__main__":
    write_schemas(Path(sys.argv[1]))
