"""Quality of pruning: our methods beside the recipes of others, at equal removed parameters.

    python benchmarks/quality.py MODEL WORK --data VALID --judge TEST [--ratio 0.2]…

Every item (a recipe, a ratio, a seed) runs in a process of its own, with the same calibration
windows and the same judgement; finished ones lie in WORK, one by one or in the quality.json of
another day, and are not done again. Writes WORK/quality.json and WORK/quality.md;
docs/benchmarks.md says what the recipes are.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from contest.figures import failed_items, rows_of
from contest.part import Part, restore_parts
from contest.question import PACKAGES, Item, Question, items_of, unknown_recipes
from contest.runner import line_of, run_items
from contest.table import markdown
from peers.recipes import PEERS

from globalprune.artifacts.disk import write_atomically
from globalprune.artifacts.records import tool_versions

RATIOS = (0.1, 0.2, 0.3)
RESULTS = "quality.json"
RECIPES = (*PEERS, "global_taylor", "prune:founding", "prune:fast", "prune:best")


def main(
    model: str,
    work: Path,
    *,
    data: Annotated[str, typer.Option(help="Text to calibrate with.")],
    judge: Annotated[str, typer.Option(help="Text to judge by; tune on another one.")],
    foreign: Annotated[str, typer.Option(help="Text of another domain.")] = "builtin",
    ratio: Annotated[list[float] | None, typer.Option(help="Repeatable.")] = None,
    recipe: Annotated[list[str] | None, typer.Option(help="Repeatable.")] = None,
    seed: Annotated[list[int] | None, typer.Option(help="Repeatable.")] = None,
    samples: int = 128,
    seq_len: int = 256,
    eval_seq_len: int = 512,
    stride: int = 12_000,
    strided: int = 10,
    others: int = 40,
) -> None:
    """Measure what isn't measured yet, and write the tables of all of it."""
    recipes = recipe or list(RECIPES)
    unknown = unknown_recipes(recipes)
    if unknown:
        raise typer.BadParameter(
            f"no recipe is called {', '.join(unknown)}; there are {', '.join(RECIPES)}, and "
            "analyze:IMPORTANCE[+compensate|+outputs] and prune[:PRESET]."
        )
    question = Question(
        model=model, data=data, samples=samples, seq_len=seq_len, judge=judge, foreign=foreign,
        eval_seq_len=eval_seq_len, stride=stride, strided=strided, others=others,
    )  # fmt: skip
    items = items_of(dict.fromkeys(recipes), ratio or RATIOS, seed or [0])
    restore_parts(work, work / RESULTS)
    parts = run_items(question, items, work, _say)
    page = write_results(question, items, parts, work)
    print(page)
    if failed_items(parts):
        raise typer.Exit(1)


def write_results(
    question: Question, items: Sequence[Item], parts: Sequence[Part], work: Path
) -> str:
    """Write both files; return the page."""
    page = markdown(question, rows_of(parts), _facts(question, items, parts))
    document = {
        "question": question.model_dump(),
        "versions": tool_versions(*PACKAGES),
        "parts": [part.model_dump() for part in parts],
    }
    write_atomically(work / RESULTS, json.dumps(document, indent=1) + "\n")
    write_atomically(work / "quality.md", page)
    return page


def _facts(question: Question, items: Sequence[Item], parts: Sequence[Part]) -> list[str]:
    """What the tables were measured with."""
    seeds = sorted({item.seed for item in items})
    sizes = {part.parameters for part in parts if part.error is None}
    commands = dict.fromkeys(command for part in parts for command in part.commands)
    versions = tool_versions(*PACKAGES).items()
    size = ", ".join(f"{size:,}" for size in sizes)
    about = f"{question.samples} windows of {question.seq_len} tokens of `{question.data}`"
    drawn = ", ".join(map(str, seeds))
    return [
        f"model `{question.model}`, {size} parameters; a ratio is one of all of them",
        f"calibration: {about}, seeds {drawn}",
        f"judged by `{question.judge}` and, as another domain, by `{question.foreign}`",
        "± is the standard deviation over seeds; behind Δ ln PPL the standard error over windows",
        *(["warning: judged by the calibration text itself"] * (question.data == question.judge)),
        ", ".join(f"{name} {version}" for name, version in versions),
        *(f"`{command}`" for command in commands),
        *(line_of(part) for part in parts if part.error is not None),
    ]


def _say(message: str) -> None:
    """News go to stderr, so that stdout holds the page alone."""
    print(message, file=sys.stderr, flush=True)


if __name__ == "__main__":
    typer.run(main)
