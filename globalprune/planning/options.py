"""What plans are made for: the options of a call as targets, and the files of the plans."""

import re
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any, Final, TypeVar

from pydantic import ValidationError

from globalprune.artifacts.plans.budgets import refuse_bad_ratio
from globalprune.artifacts.plans.plan import (
    STRATEGIES,
    Budgets,
    Constraints,
    MachineReference,
    Target,
)
from globalprune.artifacts.plans.plan_file import PLAN_FILE
from globalprune.artifacts.results.cut import METRICS_FILE
from globalprune.artifacts.stored_weights import NUMBER_BYTES, StoredWeights
from globalprune.errors import UsageError
from globalprune.options import PlanOptions

_Fields = TypeVar("_Fields", Budgets, Constraints)
_OPTIONS: Final = {"parameters": "--params", "runtime": "--for"}  # not named as the field is
_YAML: Final = (".yaml", ".yml")
_OTHER_SUFFIXES: Final = (
    ".json", ".jsonl", ".toml", ".txt", ".csv", ".md", ".html", ".parquet", ".gguf",
)  # fmt: skip
_DECIMALS: Final = 2  # of a ratio in a file name, at least


def option_name(name: str) -> str:
    """Return the option of gp plan that gives a budget or a constraint."""
    return _OPTIONS.get(name) or f"--{name.replace('_', '-')}"


def build_options(kind: type[_Fields], fields: dict[str, Any]) -> _Fields:
    """Return budgets or constraints of these fields.

    Raise `UsageError` for what is wrong with them, by the names of their options.
    """
    try:
        return kind(**fields)
    except ValidationError as error:
        raise UsageError("; ".join(_option_error(detail) for detail in error.errors())) from error


def merge_constraints(prior: Constraints, new: Constraints) -> Constraints:
    """Return the prior constraints with the new ones in their place; raise as `build_options`."""
    explicit = {name: getattr(new, name) for name in new.explicit()}
    return build_options(Constraints, {**dict(prior), **explicit})


def with_stored_dtype(budgets: Budgets, storage: StoredWeights | None) -> Budgets:
    """Return the budgets, counting bytes in the dtype of the stored weights if they name none.

    Weights in several dtypes count each in its own.
    """
    if budgets.size is None and budgets.kv_cache is None:
        return budgets
    stored = None if storage is None else storage.dtype
    if budgets.dtype is not None or stored not in NUMBER_BYTES:
        return budgets
    return budgets.model_copy(update={"dtype": stored})


def targets_for(
    options: PlanOptions, ratios: Sequence[float | None], machine: MachineReference | None = None
) -> dict[float | None, Target]:
    """Return a target for each ratio; the ratio None is one plan by the budgets alone.

    Raise `UsageError` where there is no budget, or what the strategy can't keep.
    """
    if list(ratios) == [None] and not options.budgets.amounts():
        raise UsageError(
            "no budget: say how much to remove with --ratio 0.2, or how much may be left with "
            "--params, --size, --kv-cache, --flops or --latency."
        )
    fields = {
        **options.budgets.model_dump(exclude={"ratio"}),
        "constraints": options.constraints,
        "strategy": options.strategy or "knapsack",
        "machine": machine,
    }
    targets: dict[float | None, Target] = {}
    within: tuple[float, ...] = ()
    for ratio in sorted(ratios, key=lambda ratio: ratio or 0):
        try:
            targets[ratio] = Target(**fields, ratio=ratio, within=within)
        except ValidationError as error:
            raise UsageError(_target_error(error)) from error
        within = (*within, ratio) if options.nested and ratio else within
    return targets


def plan_paths(folder: Path, ratios: Sequence[float], out: Path | None) -> dict[float | None, Path]:
    """Return the file of every ratio, each ratio once; `out` is a .yaml file or a folder.

    No ratio is one plan, by other budgets. Raise `UsageError` for a bad ratio, and for one file
    for several plans.
    """
    for ratio in ratios:
        refuse_bad_ratio(ratio)
    distinct: tuple[float | None, ...] = tuple(dict.fromkeys(ratios)) or (None,)
    applied = (folder / METRICS_FILE).is_file()  # plan.yaml says there what was cut, and stays
    if out is None and len(distinct) == 1 and not applied:
        return {distinct[0]: folder / PLAN_FILE}
    if out is not None and out.suffix in _YAML:
        if len(distinct) > 1:
            raise UsageError(
                f"-o {out}: is one file for {len(distinct)} plans; name a folder for them."
            )
        return {distinct[0]: out}
    if out is not None and out.suffix.lower() in _OTHER_SUFFIXES and not out.is_dir():
        raise UsageError(
            f"-o {out}: is called {out.suffix}, and a plan is YAML; name a .yaml file."
        )
    if out is not None and out.is_file():
        raise UsageError(f"-o {out}: is a file and no .yaml; name a .yaml file or a folder.")
    return {ratio: (out or folder) / _file_name(ratio) for ratio in distinct}


def format_ratio(ratio: float) -> str:
    """Spell a ratio with two decimals, or more where it has more: 0.20, 0.125."""
    value = Decimal(repr(float(ratio)))
    exponent = value.as_tuple().exponent
    decimals = max(_DECIMALS, -exponent if isinstance(exponent, int) else 0)
    return f"{value:.{decimals}f}"


def _option_error(detail: Any) -> str:
    """Return what is wrong with an option."""
    if not detail["loc"]:
        return _with_option_names(str(detail["ctx"]["error"]))
    option = option_name(str(detail["loc"][0]))
    should = str(detail["msg"]).removeprefix("Input ")
    return f"{option} {detail['input']}: {should}."


def _with_option_names(text: str) -> str:
    """Return the message with the option of every constraint in place of its name."""
    for name in sorted(Constraints.model_fields, key=len, reverse=True):
        text = re.sub(rf"\b{name}\b", option_name(name), text)
    return text


def _target_error(error: ValidationError) -> str:
    """Return what is wrong with a target."""
    detail = error.errors()[0]
    if detail["type"] == "literal_error":
        return f"--strategy {detail['input']}: there is {' and '.join(STRATEGIES)}."
    return str(detail.get("ctx", {}).get("error", detail["msg"]))


def _file_name(ratio: float | None) -> str:
    return PLAN_FILE if ratio is None else f"plan-{format_ratio(ratio)}.yaml"
