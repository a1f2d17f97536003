"""Law: what one step of a command has prepared is handed to the next.

Each command opens MODEL once, fingerprints and identifies it once, reads a plan once and tokenises
a text once. A result is another model, which is opened where it is staged, to be verified, and once
more where it lies.
"""

import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from command_line import gp

Tiny = Callable[[str], Path]
SHORT = ("--samples", 4, "--seq-len", 16)
LEARN = ("--finetune", "lora", "--finetune-samples", 4, "--finetune-seq-len", 16)


class Deeds:
    """Counts what is done of each thing, while a command runs."""

    def __init__(self) -> None:
        self.counts: dict[str, Counter[str]] = {}

    def note(self, deed: str, thing: Any) -> None:
        """One more."""
        self.counts.setdefault(deed, Counter())[str(thing)] += 1

    def twice(self) -> dict[str, dict[str, int]]:
        """What was done more than once."""
        return {
            deed: repeated
            for deed, counts in self.counts.items()
            if (repeated := {thing: n for thing, n in counts.items() if n > 1})
        }

    def profile(self, frame: FrameType, event: str, argument: object) -> None:
        """Look at every call; for `sys.setprofile`."""
        del argument
        if event != "call":
            return
        watched = WATCHED.get((_module(frame), frame.f_code.co_name))
        if watched is not None and _caller(frame) not in RECHECKS:
            deed, thing = watched
            self.note(deed, thing(frame.f_locals))


def _module(frame: FrameType) -> str:
    """The name of the module that a frame runs in, without its packages."""
    return Path(frame.f_code.co_filename).stem


def _caller(frame: FrameType) -> str:
    """The name of the function that called."""
    return "" if frame.f_back is None else frame.f_back.f_code.co_name


# At the end of long work the model must still be the one that was read: files may change meanwhile,
# so they are identified again; large files are only looked at, by size and time.
RECHECKS = ("refuse_changed",)
# by module and function: what is done, and of what
WATCHED: dict[tuple[str, str], tuple[str, Callable[[dict[str, Any]], Any]]] = {
    ("safetensors_checkpoint", "open"): ("opened", lambda x: x["source"].path),
    ("identity", "weights_fingerprint"): (
        "fingerprinted",
        lambda x: x["checkpoint"].source.path,
    ),
    ("identity", "identify_model"): ("identified", lambda x: x["source"].path),
    ("plan_file", "open_plan"): ("read", lambda x: x["path"]),
    ("tokenization", "tokenise"): ("tokenised", lambda x: x["name"]),
    ("tokenizer", "load_tokenizer"): ("loaded the tokenizer of", lambda x: x["source"]),
    ("prepare", "prepare_cut"): ("prepared", lambda x: x["file"].path),
}


LONG = {"apply compensated", "prune", "prune in rounds", "sweep"}


@contextmanager
def watching() -> Iterator[Deeds]:
    """Count while the block runs."""
    deeds = Deeds()
    before = sys.getprofile()
    sys.setprofile(deeds.profile)
    try:
        yield deeds
    finally:
        sys.setprofile(before)


@pytest.fixture(scope="module")
def place(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with texts, an analysis, its plan, and a cut model."""
    folder = tmp_path_factory.mktemp("once")
    for name in ("measure", "learn", "judge"):
        (folder / f"{name}.txt").write_text(f"The {name} of all things is what it is. " * 200)
    text = ("--data", folder / "measure.txt", *SHORT)
    done = gp("analyze", tiny("llama"), "-o", folder / "analysis", *text, "--importance", "obs")
    assert done.code == 0, done.err
    plan = folder / "analysis" / "plan.yaml"
    assert gp("plan", folder / "analysis", "--ratio", 0.3, "-o", folder / "own.yaml").code == 0
    assert gp("apply", tiny("llama"), "--plan", plan, "-o", folder / "cut").code == 0
    return folder


def commands(model: Path, place: Path) -> dict[str, tuple[Any, ...]]:
    """Every command that opens a model, with all that it can do."""
    plan = place / "analysis" / "plan.yaml"
    measured = ("--data", place / "measure.txt", *SHORT)
    learn = (*LEARN, "--finetune-data", place / "learn.txt", "--distil")
    judge = ("--eval", place / "judge.txt")
    new = place / "new"
    return {
        "analyze": ("analyze", model, "-o", new, *measured),
        "analyze given": (
            "analyze", model, "-o", new, *measured, "--given", plan, "--compensate",
            "--importance", "obs_measured",
        ),
        "apply": ("apply", model, "--plan", plan, "-o", new, *judge),
        "apply compensated": (
            "apply", model, "--plan", plan, "-o", new, "--compensate", *measured, *learn, *judge,
        ),
        "explain": ("apply", model, "--plan", plan, "--explain", "--compensate", *measured),
        "eval": (
            "eval", model, place / "cut", "--plan", plan, "--data", place / "judge.txt",
            "--no-speed", "-o", new,
        ),
        "finetune": (
            "finetune", place / "cut", "-o", new, "--data", place / "learn.txt", *SHORT,
            "--teacher", model,
        ),
        "prune": (
            "prune", model, "-o", new, "--ratio", 0.2, "--preset", "best", *measured, *learn,
            *judge,
        ),
        "prune in rounds": (
            "prune", model, "-o", new, "--ratio", 0.2, "--preset", "best", *measured,
            "--rounds", 2,
        ),
        "sweep": (
            "sweep", model, "--analysis", place / "analysis", "--plan", place / "own.yaml",
            "--ratio", 0.1, "--ratio", 0.2, "-o", new,
            "--eval", place / "judge.txt", "--eval-samples", 2,
            "--eval-seq-len", 16, *measured, "--gate-steps", 0,
        ),
        "check": ("check", plan, "--model", model),
    }  # fmt: skip


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.slow) if name in LONG else name
        for name in commands(Path(), Path())
    ],
)
def test_nothing_is_done_twice(tiny: Tiny, place: Path, tmp_path: Path, name: str) -> None:
    """Not of the model, nor of what was made of it."""
    command = commands(tiny("llama"), place)[name]
    with watching() as deeds:
        done = gp(*(tmp_path / "new" if word == place / "new" else word for word in command))
    assert done.code == 0, done.err
    assert deeds.twice() == {}
    for deed in ("opened", "fingerprinted"):
        assert deeds.counts[deed][str(tiny("llama"))] == 1
