"""The options of `gp plan` for budgets and constraints, and the values that their texts spell."""

import math
import re
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from globalprune.errors import UsageError

if TYPE_CHECKING:
    from globalprune.artifacts.plans.index_set import IndexSet
    from globalprune.artifacts.plans.plan import Budgets, Constraints

_AMOUNT: Final = re.compile(r"(\d+(?:\.\d+)?)\s*([A-Za-z]*)")
_UNITS: Final = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "B": 10**9, "T": 10**12}
_BYTE_UNITS: Final = {
    **{prefix: 1000**power for power, prefix in enumerate(("", "K", "M", "G", "T"))},
    **{f"{prefix}i": 1024**power for power, prefix in enumerate("KMGT", start=1)},
}
_MILLISECONDS: Final = {"us": Fraction(1, 1000), "ms": Fraction(1), "s": Fraction(1000)}
_IN_BYTES: Final = ("size", "kv_cache")
_EXAMPLES: Final = {"parameters": "6B", "size": "12GB", "kv_cache": "96KiB", "flops": "10G"}
_LAYERS: Final = re.compile(r"(-?\d+)(?:\s*-\s*(\d+))?")  # 3, -1, 0-2


def parse_budgets(*, dtype: str | None, context: int | None, **texts: str | None) -> "Budgets":
    """Return the budgets of amounts such as "6B", by their names in `Budgets`; None is no budget.

    Raise `UsageError` for what is no amount, by the option's name.
    """
    from globalprune.artifacts.plans.plan import Budgets
    from globalprune.planning.options import build_options

    amounts: dict[str, Any] = {
        name: _milliseconds(text) if name == "latency" else _amount(name, text)
        for name, text in texts.items()
        if text is not None
    }
    units = {"dtype": dtype, "context": context}
    amounts |= {name: value for name, value in units.items() if value is not None}
    return build_options(Budgets, amounts)


def parse_constraints(layers: int, **values: Any) -> "Constraints":
    """Return the constraints, by their names in `Constraints`, for a model of so many layers.

    None is no constraint, and `protect_layers` are texts such as "0, 1, -1". Raise `UsageError` for
    what can't be, by the option's name.
    """
    from globalprune.artifacts.plans.plan import Constraints
    from globalprune.planning.options import build_options

    fields = {name: value for name, value in values.items() if value is not None}
    if "protect_layers" in fields:
        fields["protect_layers"] = _parse_layers(fields["protect_layers"], layers)
    return build_options(Constraints, fields)


def _amount(name: str, text: str) -> int:
    """The number that a text such as 1.5GiB spells."""
    from globalprune.planning.options import option_name

    match = _AMOUNT.fullmatch(text.strip())
    factors = _BYTE_UNITS if name in _IN_BYTES else _UNITS
    unit = match[2] if match else ""
    factor = factors.get(unit.removesuffix("B") if name in _IN_BYTES else unit)
    if match is None or factor is None:
        example = _EXAMPLES[name]
        raise UsageError(f"{option_name(name)} {text}: is not an amount; write it like {example}.")
    return math.floor(Fraction(match[1]) * factor)


def _milliseconds(text: str) -> float:
    """The milliseconds that a text such as 1.5ms spells."""
    match = _AMOUNT.fullmatch(text.strip())
    if match is None or match[2] not in _MILLISECONDS:
        raise UsageError(f"--latency {text}: is not a time; write it like 20ms.")
    return float(Fraction(match[1]) * _MILLISECONDS[match[2]])


def _parse_layers(texts: Sequence[str], count: int) -> "IndexSet":
    """The layers that texts name, -1 being the last one."""
    from globalprune.artifacts.plans.index_set import IndexSet

    text = ",".join(texts)
    layers: set[int] = set()
    for part in text.split(","):
        match = _LAYERS.fullmatch(part.strip())
        if match is None:
            raise UsageError(
                f"--protect-layers {text}: {part.strip()!r} is no layer; write 0,1,-1 or 0-3."
            )
        first = int(match[1])
        last = first if match[2] is None else int(match[2])
        first, last = (layer + count if layer < 0 else layer for layer in (first, last))
        if not 0 <= first <= last < count:
            raise UsageError(
                f"--protect-layers {text}: {part.strip()} is not in the model, which has layers 0 "
                f"to {count - 1} (or -{count} to -1)."
            )
        layers.update(range(first, last + 1))
    return IndexSet.of(layers)


def _budget(metavar: str | None, description: str, *, default: bool | str = False) -> Any:
    """An option of the panel for budgets."""
    return typer.Option(
        metavar=metavar, help=description, show_default=default, rich_help_panel="How small"
    )


def _constraint(
    *names: str, description: str, metavar: str | None = None, default: bool | str = False
) -> Any:
    """An option of the panel for constraints."""
    return typer.Option(
        *names,
        metavar=metavar,
        help=description,
        show_default=default,
        rich_help_panel="What may not go",
    )


Params = Annotated[str | None, _budget("6B", "Parameters that may be left, of the whole model.")]
Size = Annotated[
    str | None,
    _budget(
        "12GB",
        "Bytes that the files of all weights may take; GB are powers of ten, GiB of two.",
    ),
]
KvCache = Annotated[str | None, _budget("96KiB", "Bytes that each token may take in the KV cache.")]
Flops = Annotated[
    str | None,
    _budget("10G", "Floating-point operations that the decoder layers may take for a token."),
]
Latency = Annotated[
    str | None,
    _budget("20ms", "Time that a decoded token may take, as --machine predicts it."),
]
Machine = Annotated[Path | None, _budget("FILE", "What gp measure wrote, for --latency.")]
Dtype = Annotated[
    str | None,
    _budget(
        "NAME",
        "What --size and --kv-cache count in: float32, bfloat16, float16 or int8. For --size of "
        "another one than MODEL's, cut with gp apply --save-dtype.",
        default="as MODEL is stored",
    ),
]
Context = Annotated[
    int | None,
    _budget(
        None,
        "Tokens before the one whose --flops are counted; those that --kv-cache holds.",
        default="2048",
    ),
]

ProtectLayers = Annotated[
    list[str] | None,
    _constraint(metavar="0,1,-1", description="Layers that stay whole; -1 is the last one."),
]
MinAttentionGroups = Annotated[
    int | None,
    _constraint(description="Key/value heads that stay in every layer, at least.", default="0"),
]
MinMlp = Annotated[
    int | None,
    _constraint(description="MLP channels that stay in every layer, at least.", default="0"),
]
MaxLayerRatio = Annotated[
    float | None,
    _constraint(
        description="Fraction of a layer's parameters (norms aside) that may go, at most.",
        default="1.0",
    ),
]
Only = Annotated[
    str | None,
    _constraint(
        metavar="mlp|attention",
        description="Remove groups of one kind alone.",
        default="both",
    ),
]
AttentionShare = Annotated[
    float | None,
    _constraint(
        description="How much of what goes is attention, as a fraction of the parameters.",
        default="as it comes out",
    ),
]
RoundMlp = Annotated[
    int | None,
    _constraint(
        metavar="64|128",
        description="Make every MLP's width a multiple of it, for tensor cores and runtimes.",
        default="1",
    ),
]
Runtime = Annotated[
    str | None,
    _constraint(
        "--for",
        metavar="transformers|vllm|llama.cpp|any",
        description="Cut so that this program can load what is left; any: a plain checkpoint.",
        default="transformers, which loads every cut",
    ),
]
Uniform = Annotated[
    bool,
    _constraint(
        "--uniform",
        description="Take as much from every layer, so that the result is a plain checkpoint.",
        default=True,
    ),
]
WholeLayers = Annotated[
    bool,
    _constraint(
        "--whole-layers",
        description="Take whole layers or nothing of them.",
        default=True,
    ),
]
