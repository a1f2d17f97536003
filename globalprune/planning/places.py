"""Where plans go: DIR/plan.yaml for one ratio, FOLDER/plan-0.20.yaml for each of several.

The records of a model that was cut are an analysis too; its plan.yaml is never written over.
"""

from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path

from globalprune.artifacts.plans.budgets import refuse_bad_ratio
from globalprune.artifacts.plans.plan_file import PLAN_FILE
from globalprune.artifacts.results.metrics import METRICS_FILE
from globalprune.errors import UsageError

_SUFFIXES = (".yaml", ".yml")
_OTHER_FILES = (".json", ".jsonl", ".toml", ".txt", ".csv", ".md", ".html", ".parquet", ".gguf")
_DECIMALS = 2


def plan_places(
    folder: Path, ratios: Sequence[float], out: Path | None
) -> dict[float | None, Path]:
    """The file of every ratio, each ratio once; `out` is a .yaml file or a folder.

    No ratio is one plan, by other budgets. Raise `UsageError` for ratios that are none, and for one
    file where several plans are asked.
    """
    for ratio in ratios:
        refuse_bad_ratio(ratio)
    wanted: tuple[float | None, ...] = tuple(dict.fromkeys(ratios)) or (None,)
    applied = (folder / METRICS_FILE).is_file()  # plan.yaml says there what was cut, and stays
    if out is None and len(wanted) == 1 and not applied:
        return {wanted[0]: folder / PLAN_FILE}
    if out is not None and out.suffix in _SUFFIXES:
        if len(wanted) > 1:
            raise UsageError(
                f"-o {out}: is one file for {len(wanted)} plans; name a folder for them."
            )
        return {wanted[0]: out}
    if out is not None and out.suffix.lower() in _OTHER_FILES and not out.is_dir():
        raise UsageError(
            f"-o {out}: is called {out.suffix}, and a plan is YAML; name a .yaml file."
        )
    if out is not None and out.is_file():
        raise UsageError(f"-o {out}: is a file and no .yaml; name a .yaml file or a folder.")
    return {ratio: (out or folder) / _name(ratio) for ratio in wanted}


def _name(ratio: float | None) -> str:
    return PLAN_FILE if ratio is None else f"plan-{spelled_ratio(ratio)}.yaml"


def spelled_ratio(ratio: float) -> str:
    """The ratio with two decimals, or more where it has more: 0.20, 0.125."""
    value = Decimal(repr(float(ratio)))
    exponent = value.as_tuple().exponent
    decimals = max(_DECIMALS, -exponent if isinstance(exponent, int) else 0)
    return f"{value:.{decimals}f}"
