"""globalprune cuts a language model to a budget, and shows, edits and reuses the decision.

`analyze`, `plan`, `apply`, `finetune` and `evaluate` are the phases, which meet in files; `prune`
runs them in a row. Each has an options dataclass; read `globalprune.api` first. `load_model` opens
any result; the rest of the names are the artifacts and the errors. `gp sweep`, `report`, `export`
and `measure` are commands alone. Nothing heavy loads before a name is asked for.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from globalprune.api import analyze, apply, evaluate, finetune, plan, prune
    from globalprune.artifacts.analyses.analysis import Analysis, read_analysis
    from globalprune.artifacts.analyses.group_table import GroupTable
    from globalprune.artifacts.analyses.group_table_file import read_group_table
    from globalprune.artifacts.plans.plan import PrunePlan
    from globalprune.artifacts.plans.plan_file import read_plan
    from globalprune.artifacts.results.cut import CompensationRequest
    from globalprune.artifacts.results.finetuning import FinetuneSettings
    from globalprune.errors import GlobalPruneError
    from globalprune.models.loading import load_model
    from globalprune.models.tokenizer import load_tokenizer
    from globalprune.options import (
        AnalyzeOptions,
        ApplyOptions,
        EvaluateOptions,
        FinetuneOptions,
        PlanOptions,
        PruneOptions,
    )
    from globalprune.progress import Reporter

    __version__: str

__all__ = [
    "Analysis",
    "AnalyzeOptions",
    "ApplyOptions",
    "CompensationRequest",
    "EvaluateOptions",
    "FinetuneOptions",
    "FinetuneSettings",
    "GlobalPruneError",
    "GroupTable",
    "PlanOptions",
    "PruneOptions",
    "PrunePlan",
    "Reporter",
    "__version__",
    "analyze",
    "apply",
    "evaluate",
    "finetune",
    "load_model",
    "load_tokenizer",
    "plan",
    "prune",
    "read_analysis",
    "read_group_table",
    "read_plan",
]
_HOMES = {
    "Analysis": "artifacts.analyses.analysis",
    "AnalyzeOptions": "options",
    "ApplyOptions": "options",
    "CompensationRequest": "artifacts.results.cut",
    "EvaluateOptions": "options",
    "FinetuneOptions": "options",
    "FinetuneSettings": "artifacts.results.finetuning",
    "GlobalPruneError": "errors",
    "GroupTable": "artifacts.analyses.group_table",
    "PlanOptions": "options",
    "PruneOptions": "options",
    "PrunePlan": "artifacts.plans.plan",
    "Reporter": "progress",
    "analyze": "api",
    "apply": "api",
    "evaluate": "api",
    "finetune": "api",
    "load_model": "models.loading",
    "load_tokenizer": "models.tokenizer",
    "plan": "api",
    "prune": "api",
    "read_analysis": "artifacts.analyses.analysis",
    "read_group_table": "artifacts.analyses.group_table_file",
    "read_plan": "artifacts.plans.plan_file",
}


def __getattr__(name: str) -> Any:
    """Load the module of a public name when the name is first used."""
    if name == "__version__":
        from importlib.metadata import version

        return version(__name__)
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    """The public names."""
    return __all__
