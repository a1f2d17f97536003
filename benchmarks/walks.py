"""Count the modules that a value passes on its way through gp: five walks on a tiny model.

    python benchmarks/walks.py [--walk NAME]… [--support tests/support]

A walk runs one command twice, the second time under `sys.setprofile`, from the first call of a
function that the value enters by until the first return of the function that it leaves by.
It counts the modules of the package whose functions are called on the way, and the crossings: the
distinct pairs of a module and one that it calls. `--support` names the folder of the builders that
make the tiny model, so that the script also measures an older checkout (with PYTHONPATH set to it).
"""

import inspect
import sys
import tempfile
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Annotated, Any, Final

import typer

import globalprune

PACKAGE: Final = Path(globalprune.__file__).parent
TEXT: Final = ("--data", "text.txt", "--samples", "8", "--seq-len", "24")
SHORT: Final = ("--data", "text.txt", "--samples", "4", "--seq-len", "16")


@dataclass(frozen=True)
class Walk:
    """A command, and the functions by which a value enters and leaves; none: the whole command."""

    name: str
    command: tuple[str, ...]
    enters: frozenset[str] = frozenset()
    leaves: frozenset[str] = frozenset()


WALKS: Final = (
    Walk(
        "an importance, from hook to Parquet row",
        ("analyze", "m", "-o", "a2-{run}", *TEXT),
        frozenset({"take_gradient", "on_gradient"}),
        frozenset({"write_group_table"}),
    ),
    Walk(
        "an index range, from YAML to the cut tensor",
        ("apply", "m", "--plan", "a/plan.yaml", "-o", "c1-{run}"),
        frozenset({"open_plan", "read_plan"}),
        frozenset({"cut", "cut_tensor", "slice_tensor"}),
    ),
    Walk(
        "--kv-cache, from option to chosen set",
        ("plan", "a", "--kv-cache", "500", "-o", "a/kv{run}.yaml"),
        frozenset({"plan"}),
        frozenset({"make_plan"}),
    ),
    Walk(
        "a compensated weight, from text to disk",
        ("apply", "m", "--plan", "a/plan.yaml", "-o", "c2-{run}", "--compensate", *TEXT),
        frozenset({"calibration_windows", "read_windows"}),
        frozenset({"save_file", "verify"}),
    ),
    Walk(
        "gp prune --preset best, whole",
        ("prune", "m", "-o", "p-{run}", "--ratio", "0.2", "--preset", "best", *TEXT),
    ),
)


@dataclass
class Steps:
    """What was entered between two functions."""

    walk: Walk
    modules: set[str] = field(default_factory=set)
    crossings: set[tuple[str, str]] = field(default_factory=set)
    is_open: bool = False
    is_over: bool = False

    def profile(self, frame: FrameType, event: str, argument: object) -> None:
        """Note one call or return of Python code; for `sys.setprofile`."""
        del argument
        if self.is_over or event not in {"call", "return"}:
            return
        module = _module_of(frame)
        if module is None:
            return
        name = frame.f_code.co_name
        if event == "return":
            self.is_over = self.is_open and name in self.walk.leaves
            return
        if not self.is_open:
            self.is_open = not self.walk.enters or name in self.walk.enters
        if self.is_open:
            self.modules.add(module)
            caller = _caller_of(frame)
            if caller is not None and caller != module:
                self.crossings.add((caller, module))


def _module_of(frame: FrameType) -> str | None:
    """The module of the package whose function a frame runs, if it does."""
    path = frame.f_code.co_filename
    is_function = frame.f_code.co_flags & inspect.CO_OPTIMIZED  # no module and no class body
    if not path.startswith(str(PACKAGE)) or not is_function:
        return None
    return str(Path(path).relative_to(PACKAGE).with_suffix(""))


def _caller_of(frame: FrameType) -> str | None:
    """The nearest module of the package below a frame."""
    below = frame.f_back
    while below is not None:
        if (module := _module_of(below)) is not None:
            return module
        below = below.f_back
    return None


def walk_through(walk: Walk, run: Callable[..., Any]) -> Steps:
    """Run the command of a walk; raise `RuntimeError` where it fails or never leaves."""
    steps = Steps(walk)
    first, second = ([word.format(run=number) for word in walk.command] for number in (1, 2))
    run(*first)  # so that what is walked imports nothing
    sys.setprofile(steps.profile)
    try:
        done = run(*second)
    finally:
        sys.setprofile(None)
    if done.code != 0:
        raise RuntimeError(f"gp {' '.join(second)}: {done.err}")
    if walk.leaves and not steps.is_over:
        raise RuntimeError(f"{walk.name}: no function of {sorted(walk.leaves)} was left")
    return steps


@contextmanager
def tiny_model(support: Path) -> Iterator[Callable[..., Any]]:
    """Make a tiny model, a text and an analysis in a new working folder; give what runs `gp`."""
    import os

    sys.path.insert(0, str(support.resolve()))
    from command_line import gp
    from tiny_models import save_tiny

    before = Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        save_tiny(Path("m"), "llama")
        Path("text.txt").write_text("The quick brown fox jumps over the lazy dog. " * 60, "utf-8")
        first = gp("analyze", "m", "-o", "a", *TEXT, "--ratio", "0.2")
        if first.code != 0:
            raise RuntimeError(first.err)
        try:
            yield gp
        finally:
            os.chdir(before)


def chosen(names: Collection[str]) -> Iterator[Walk]:
    """The walks whose names hold one of these words; all where there are none."""
    return (walk for walk in WALKS if not names or any(name in walk.name for name in names))


def main(
    walk: Annotated[list[str] | None, typer.Option(help="A word of a walk's name.")] = None,
    support: Annotated[Path, typer.Option(help="Where the builders are.")] = Path("tests/support"),
) -> None:
    """Print modules and crossings of every walk."""
    with tiny_model(support) as run:
        for one in chosen(walk or []):
            steps = walk_through(one, run)
            print(f"{len(steps.modules):4} modules {len(steps.crossings):4} crossings  {one.name}")


if __name__ == "__main__":
    typer.run(main)
