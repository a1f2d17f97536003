"""Our rows: real `gp` commands, run as anyone would, each measured as a process of its own.

`prune` is `gp prune` as it stands, `prune:NAME` is its preset; `analyze:IMPORTANCE` is
`gp analyze`, `gp plan` and `gp apply`. `analyze:IMPORTANCE+compensate` also repairs what is left,
`analyze:IMPORTANCE+outputs` the output projections alone. All ratios share one analysis, whose cost
counts in every row. `global_taylor` is the importance that globalprune began with, without repair:
a peer, not one of ours.
"""

import json
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from contest.measured_run import Cost, run_measured, together
from globalprune.artifacts.disk import write_atomically

REPAIRS: Final = {
    "": (),
    "+compensate": ("--compensate",),
    "+outputs": ("--compensate", "--gate-steps", "0"),
}
GLOBAL_TAYLOR = "global_taylor"


@dataclass(frozen=True)
class Ours:
    """A row of ours, taken apart."""

    importance: str | None = None  # None: the whole of gp prune
    preset: str | None = None
    repair: tuple[str, ...] = ()  # how gp apply is asked for it


@dataclass(frozen=True)
class Text:
    """What to calibrate with."""

    data: str
    samples: int
    seq_len: int
    seed: int

    def options(self) -> list[str]:
        """As every command spells it."""
        return [
            *("--data", self.data, "--samples", str(self.samples)),
            *("--seq-len", str(self.seq_len), "--seed", str(self.seed)),
        ]


def parse(recipe: str) -> Ours | None:
    """Take a row's name apart; None if it isn't one of ours."""
    if recipe == GLOBAL_TAYLOR:
        return Ours(importance="taylor")
    command, _, rest = recipe.partition(":")
    if command == "prune" and (rest or ":" not in recipe):
        return Ours(preset=rest or None)
    importance, plus, repair = rest.partition("+")
    if command == "analyze" and importance and plus + repair in REPAIRS:
        return Ours(importance=importance, repair=REPAIRS[plus + repair])
    return None


def is_peer(recipe: str) -> bool:
    """Whether a row is one to be beaten."""
    return recipe == GLOBAL_TAYLOR or parse(recipe) is None


def run(recipe: Ours, model: str, ratio: float, text: Text, folders: tuple[Path, Path]) -> Cost:
    """Write the smaller model into the first folder; keep the analysis in the second."""
    out, analyses = folders
    if recipe.importance is None:
        preset = ["--preset", recipe.preset] if recipe.preset else []
        command = ["prune", model, "--ratio", str(ratio), *preset, *text.options()]
        return _gp([*command, "-o", str(out)], out)
    analysis = analyses / recipe.importance
    measured = _analysis(model, recipe.importance, text, analysis)
    plan = out.with_suffix(".yaml")
    planned = _gp(
        ["plan", str(analysis), "--ratio", str(ratio), "-o", str(plan), "--overwrite"], out
    )
    repair = [*recipe.repair, *text.options()] if recipe.repair else []
    applied = _gp(["apply", model, "--plan", str(plan), "-o", str(out), *repair], out)
    return together([measured, planned, applied])


def _analysis(model: str, importance: str, text: Text, folder: Path) -> Cost:
    """Analyze once; every later row takes the analysis and what it cost."""
    note = folder.with_suffix(".cost.json")
    if note.is_file():
        return Cost(**json.loads(note.read_text(encoding="utf-8")))
    command = ["analyze", model, "-o", str(folder), "--importance", importance, *text.options()]
    cost = _gp([*command, "--overwrite"], folder)
    write_atomically(note, json.dumps(vars(cost)))
    return cost


def _gp(arguments: list[str], beside: Path) -> Cost:
    """Run one command; what it says lies in a log beside its result."""
    log = beside.with_name(f"{beside.name}-{arguments[0]}.log")
    return run_measured([sys.executable, "-m", "globalprune", *arguments], log)


def spelled(recipe: Ours, model: str, ratio: float, text: Text) -> list[str]:
    """The commands of a row as a person would type them."""
    words = shlex.join(text.options())
    if recipe.importance is None:
        preset = f" --preset {recipe.preset}" if recipe.preset else ""
        return [f"gp prune {model} --ratio {ratio}{preset} {words} -o OUT"]
    repair = f" {shlex.join(recipe.repair)} {words}" if recipe.repair else ""
    return [
        f"gp analyze {model} -o DIR --importance {recipe.importance} {words}",
        f"gp plan DIR --ratio {ratio} -o PLAN",
        f"gp apply {model} --plan PLAN -o OUT{repair}",
    ]
