"""Every file that a phase writes into a folder of records: what `--overwrite` may replace.

The names are gathered here from the modules that write the files. A plan that a person edited is
theirs, whatever its name.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from globalprune.artifacts import schemas
from globalprune.artifacts.analyses.analysis import ANALYSIS_FILE
from globalprune.artifacts.analyses.group_table_file import TABLE_FILE
from globalprune.artifacts.analyses.loss_curves import CURVES_FILE
from globalprune.artifacts.disk import is_temporary
from globalprune.artifacts.evaluations import evaluation_files
from globalprune.artifacts.plans.plan_file import PLAN_FILE, has_comments, read_plan
from globalprune.artifacts.results.compensation import COMPENSATION_FILE
from globalprune.artifacts.results.finetuning import FINETUNE_FILE, LOSS_FILE
from globalprune.artifacts.results.metrics import METRICS_FILE, read_metrics
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
        schemas.PLAN_SCHEMA_FILE,
        ORIGIN_FILE,
        METRICS_FILE,
        COMPENSATION_FILE,
        FINETUNE_FILE,
        LOSS_FILE,
        APPLY_LOG,
        evaluation_files.EVALUATION_FILE,
        evaluation_files.EVALUATION_CSV,
        evaluation_files.EVALUATION_MARKDOWN,
    )
)
_PLANS: Final = (".yaml", ".yml")
_ROUND_DEPTH: Final = 2  # rounds/NN/


def foreign_files(folder: Path, depth: int = _ROUND_DEPTH) -> Iterator[str]:
    """Yield what lies among the records of a result and no phase wrote, in order of names."""
    for path in sorted(folder.iterdir()):
        if path.is_dir() and depth and (path.name == ROUNDS_FOLDER or path.name.isdigit()):
            yield from (f"{path.name}/{name}" for name in foreign_files(path, depth - 1))
        elif path.name not in RECORDS and not is_temporary(path.name) and not _is_own_plan(path):
            yield path.name


def _is_own_plan(path: Path) -> bool:
    """Whether gp wrote a plan, or applied it as it stands, and nobody edited it since."""
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
