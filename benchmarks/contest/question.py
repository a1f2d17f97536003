"""What is asked of every recipe, what one item is, and what its figures depend on.

Nothing here loads torch: the process that starts the items stays small, since a child's peak memory
begins at its parent's.
"""

import ast
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any, Final

from peers.recipes import PEERS, READS_NO_TEXT, files_of

import globalprune
from contest import ours
from globalprune.artifacts.records import Record, digest_bytes, digest_json, tool_versions

DENSE: Final = "dense"
PACKAGES: Final = ("torch-pruning", "optipfair")
_PACKAGE: Final = Path(globalprune.__file__).parent
_IRRELEVANT: Final = ("card", "recover")  # no figure here comes from these
_BENEATH: Final = ("text", "models", "passes", "evaluate")  # what every item is read and run with
_JUDGING: Final = ("judge.py", "texts.py", "dense_states.py", "one_item.py")


class Question(Record):
    """The same for all recipes of one run."""

    model: str
    data: str  # to calibrate with
    samples: int
    seq_len: int
    judge: str  # the text that decides
    foreign: str  # a text of another domain
    eval_seq_len: int
    stride: int
    strided: int  # windows of the judging text, one every `stride` tokens
    others: int  # other windows of it, and windows of the foreign text


class Item(Record):
    """One thing that is measured: a recipe at a ratio of all parameters, with one calibration."""

    recipe: str
    ratio: float
    seed: int

    @property
    def name(self) -> str:
        """What its files are called."""
        words = "".join(letter if letter.isalnum() else "_" for letter in self.recipe)
        return f"{words}-{self.ratio}-seed{self.seed}"


class Job(Record):
    """What the process of one item is told."""

    question: Question
    item: Item
    key: str  # digest of all that its figures depend on
    calibration: str  # digest of all that an analysis of ours depends on
    inputs: dict[str, str]
    work: Path


def items_of(recipes: Iterable[str], ratios: Iterable[float], seeds: Iterable[int]) -> list[Item]:
    """Every item, the dense model first, then seed by seed."""
    found = [Item(recipe=DENSE, ratio=0, seed=0)]
    for place, seed in enumerate(seeds):
        found += [
            Item(recipe=recipe, ratio=ratio, seed=seed)
            for ratio in ratios
            for recipe in recipes
            if place == 0 or recipe not in READS_NO_TEXT
        ]
    return found


def unknown_recipes(recipes: Iterable[str]) -> list[str]:
    """Those of the names that no recipe has."""
    return [name for name in recipes if name not in PEERS and ours.parse(name) is None]


def inputs_of(question: Question) -> dict[str, str]:
    """Digests of what is read from disk; a name that is no path stands for itself."""
    return {
        "model": content_digest(question.model),
        "data": content_digest(question.data),
        "judge": content_digest(question.judge),
        "foreign": content_digest(question.foreign),
    }


def key_of(question: Question, item: Item, inputs: dict[str, str]) -> str:
    """The digest of all that an item's figures depend on."""
    facts: dict[str, Any] = question.model_dump() | {
        "item": item.model_dump(),
        "inputs": inputs,
        "code": _code_digest_of(item.recipe),
        "versions": tool_versions(*PACKAGES),
    }
    return digest_json(facts)


def job_of(question: Question, item: Item, inputs: dict[str, str], work: Path) -> Job:
    """An item with the digests that tell its files from those of other runs."""
    about = [
        *(inputs["model"], inputs["data"], question.samples, question.seq_len, item.seed),
        *(_own_code_digest(), tool_versions()),
    ]
    calibration = digest_json(about).partition(":")[2][:16]
    key = key_of(question, item, inputs)
    return Job(
        question=question, item=item, key=key, calibration=calibration, inputs=inputs, work=work
    )


def _code_digest_of(recipe: str) -> list[str]:
    """Digests of the code that a recipe's figures come from."""
    judging = code_digest(_judging_files())
    if recipe == DENSE:
        return [judging]
    own = code_digest(files_of(recipe)) if recipe in PEERS else _own_code_digest()
    return [judging, own]


def _judging_files() -> list[Path]:
    """What cuts the windows, runs the models and judges them, whatever the recipe."""
    beneath = [path for part in _BENEATH for path in sorted((_PACKAGE / part).rglob("*.py"))]
    return [*(Path(__file__).with_name(name) for name in _JUDGING), *beneath]


@cache
def _own_code_digest() -> str:
    """The digest of what our commands do, as it was when this run began."""
    package = [
        path
        for path in sorted(_PACKAGE.rglob("*.py"))
        if path.relative_to(_PACKAGE).parts[0] not in _IRRELEVANT
    ]
    return code_digest([Path(ours.__file__), *package])


def code_digest(paths: Iterable[Path]) -> str:
    """The digest of what files do: comments, docstrings and layout don't enter."""
    return digest_json([ast.dump(_undocumented(path)) for path in paths])


def _undocumented(path: Path) -> ast.Module:
    """A module's tree without its docstrings."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    kinds = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
    for node in ast.walk(tree):
        if isinstance(node, kinds) and ast.get_docstring(node) is not None:
            node.body = node.body[1:]
    return tree


def content_digest(source: str) -> str:
    """The digest of a file, or of a folder's files and their names; else the name itself."""
    path = Path(source)
    if not path.exists():
        return source
    files = (
        [path] if path.is_file() else sorted(child for child in path.iterdir() if child.is_file())
    )
    parts = [digest_bytes(file.name.encode(), b"\0", file.read_bytes()) for file in files]
    return digest_json(parts)
