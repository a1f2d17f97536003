"""Options of `gp plan` as targets: units, ratios, layers, and the paths of the plans."""

import math
import re
from collections.abc import Sequence
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any, Final, TypeVar

from pydantic import ValidationError

from globalprune.artifacts.plans.budgets import refuse_bad_ratio
from globalprune.artifacts.plans.index_set import IndexSet
from globalprune.artifacts.plans.plan import (
    STRATEGIES,
    Budgets,
    Constraints,
    MachineReference,
    Target,
)
from globalprune.artifacts.plans.plan_file import PLAN_FILE
from globalprune.artifacts.results.metrics import METRICS_FILE
from globalprune.artifacts.stored_weights import NUMBER_BYTES, StoredWeights
from globalprune.errors import UsageError

_Said = TypeVar("_Said", Budgets, Constraints)
_AMOUNT: Final = re.compile(r"(\d+(?:\.\d+)?)\s*([A-Za-z]*)")
_UNITS: Final = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "B": 10**9, "T": 10**12}
_BYTE_UNITS: Final = {
    **{prefix: 1000**power for power, prefix in enumerate(("", "K", "M", "G", "T"))},
    **{f"{prefix}i": 1024**power for power, prefix in enumerate("KMGT", start=1)},
}
_TIMES: Final = {"us": Fraction(1, 1000), "ms": Fraction(1), "s": Fraction(1000)}
_BYTES: Final = ("size", "kv_cache")
_EXAMPLES: Final = {"parameters": "6B", "size": "12GB", "kv_cache": "96KiB", "flops": "10G"}
_OPTIONS: Final = {"parameters": "--params", "runtime": "--for"}  # not as the field
_PART: Final = re.compile(r"(-?\d+)(?:\s*-\s*(\d+))?")  # 3, -1, 0-2


def parse_constraints(layers: int, **said: Any) -> Constraints:
    """The constraints for a model of so many layers; None says nothing.

    `protect_layers` are texts such as "0, 1, -1". Raise `UsageError` for what can't be, by the
    option's name.
    """
    wanted = {name: value for name, value in said.items() if value is not None}
    if "protect_layers" in wanted:
        wanted["protect_layers"] = _layers(",".join(wanted["protect_layers"]), layers)
    return _valid(Constraints, wanted)


def merge_constraints(standing: Constraints, asked: Constraints) -> Constraints:
    """Those that stand already, except what is asked anew; raise `UsageError` as above."""
    anew = {name: getattr(asked, name) for name in asked.said()}
    return _valid(Constraints, {**dict(standing), **anew})


def parse_budgets(*, dtype: str | None, context: int | None, **said: str | None) -> Budgets:
    """The budgets of amounts such as "6B"; None says nothing.

    Raise `UsageError` for what is no amount, by the option's name.
    """
    wanted: dict[str, Any] = {
        name: _milliseconds(text) if name == "latency" else _amount(name, text)
        for name, text in said.items()
        if text is not None
    }
    others = {"dtype": dtype, "context": context}
    wanted |= {name: value for name, value in others.items() if value is not None}
    return _valid(Budgets, wanted)


def _valid(kind: type[_Said], wanted: dict[str, Any]) -> _Said:
    """The record; what is wrong with it as the options that said so."""
    try:
        return kind(**wanted)
    except ValidationError as error:
        raise UsageError("; ".join(_option_error(found) for found in error.errors())) from error


def _amount(name: str, text: str) -> int:
    """The number that a text such as 1.5GiB spells."""
    found = _AMOUNT.fullmatch(text.strip())
    factors = _BYTE_UNITS if name in _BYTES else _UNITS
    unit = found[2] if found else ""
    factor = factors.get(unit.removesuffix("B") if name in _BYTES else unit)
    if found is None or factor is None:
        raise UsageError(f"{option_name(name)} {text}: is no amount; write {_EXAMPLES[name]}, say.")
    return math.floor(Fraction(found[1]) * factor)


def _milliseconds(text: str) -> float:
    """The milliseconds that a text such as 1.5ms spells."""
    found = _AMOUNT.fullmatch(text.strip())
    if found is None or found[2] not in _TIMES:
        raise UsageError(f"--latency {text}: is no time; write 20ms, say.")
    return float(Fraction(found[1]) * _TIMES[found[2]])


def _layers(text: str, count: int) -> IndexSet:
    """The layers that a text names, -1 being the last one."""
    chosen: set[int] = set()
    for part in text.split(","):
        found = _PART.fullmatch(part.strip())
        if found is None:
            raise UsageError(
                f"--protect-layers {text}: {part.strip()!r} is no layer; write 0,1,-1 or 0-3."
            )
        first = int(found[1])
        last = first if found[2] is None else int(found[2])
        first, last = (layer + count if layer < 0 else layer for layer in (first, last))
        if not 0 <= first <= last < count:
            raise UsageError(
                f"--protect-layers {text}: {part.strip()} is not in the model, which has layers 0 "
                f"to {count - 1} (or -{count} to -1)."
            )
        chosen.update(range(first, last + 1))
    return IndexSet.of(chosen)


def _option_error(found: Any) -> str:
    """What is wrong with an option, in our words."""
    if not found["loc"]:
        return _as_options(str(found["ctx"]["error"]))
    option = option_name(str(found["loc"][0]))
    should = str(found["msg"]).removeprefix("Input ")
    return f"{option} {found['input']}: {should}."


def option_name(name: str) -> str:
    """The option of gp plan that gives a budget or constraint."""
    return _OPTIONS.get(name) or f"--{name.replace('_', '-')}"


def _as_options(text: str) -> str:
    """The message with every constraint's name as the option that gives it."""
    for name in sorted(Constraints.model_fields, key=len, reverse=True):
        text = re.sub(rf"\b{name}\b", option_name(name), text)
    return text


def with_stored_dtype(budgets: Budgets, storage: StoredWeights | None) -> Budgets:
    """The budgets, in whose bytes numbers count as they are stored, unless a dtype is named.

    Of weights in several dtypes each counts in its own.
    """
    if budgets.size is None and budgets.kv_cache is None:
        return budgets
    stored = None if storage is None else storage.dtype
    if budgets.dtype is not None or stored not in NUMBER_BYTES:
        return budgets
    return budgets.model_copy(update={"dtype": stored})


def targets_for(
    ratios: Sequence[float | None],
    budgets: Budgets,
    constraints: Constraints,
    *,
    nested: bool,
    strategy: str,
    machine: MachineReference | None = None,
) -> dict[float | None, Target]:
    """A target for each ratio; None stands for one plan by the other budgets.

    Of `nested` plans each removes all that those of smaller ratios do. Raise `UsageError` where
    nothing is asked, or what the strategy can't keep.
    """
    if list(ratios) == [None] and not budgets.said():
        raise UsageError(
            "no budget: say how much to remove with --ratio 0.2, or how much may be left with "
            "--params, --size, --kv-cache, --flops or --latency."
        )
    said = budgets.model_dump(exclude={"ratio"})
    targets: dict[float | None, Target] = {}
    within: tuple[float, ...] = ()
    for ratio in sorted(ratios, key=lambda ratio: ratio or 0):
        asked = {**said, "ratio": ratio, "constraints": constraints, "strategy": strategy}
        asked["machine"] = machine
        try:
            targets[ratio] = Target(**asked, within=within)
        except ValidationError as error:
            raise UsageError(_target_error(error)) from error
        within = (*within, ratio) if nested and ratio else within
    return targets


def _target_error(error: ValidationError) -> str:
    """What is wrong, in our words."""
    found = error.errors()[0]
    if found["type"] == "literal_error":
        return f"--strategy {found['input']}: there is {' and '.join(STRATEGIES)}."
    return str(found.get("ctx", {}).get("error", found["msg"]))


_SUFFIXES = (".yaml", ".yml")
_OTHER_FILES = (".json", ".jsonl", ".toml", ".txt", ".csv", ".md", ".html", ".parquet", ".gguf")
_DECIMALS = 2


def plan_paths(folder: Path, ratios: Sequence[float], out: Path | None) -> dict[float | None, Path]:
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
    return PLAN_FILE if ratio is None else f"plan-{format_ratio(ratio)}.yaml"


def format_ratio(ratio: float) -> str:
    """The ratio with two decimals, or more where it has more: 0.20, 0.125."""
    value = Decimal(repr(float(ratio)))
    exponent = value.as_tuple().exponent
    decimals = max(_DECIMALS, -exponent if isinstance(exponent, int) else 0)
    return f"{value:.{decimals}f}"
