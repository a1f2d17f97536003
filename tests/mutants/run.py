"""Plants mutants in a copy of the package, and counts those that its tests kill.

    python tests/mutants/run.py [--seed 20] [--count 100] [--jobs 1] [--record FILE]

A mutant is one changed operator, comparison, constant or return. The sample is drawn by digests of
place and text, as many from each folder, so a change elsewhere leaves it as it is. A mutant runs
against the unit tests of its module, then the laws of its folder. A survivor is code that no test
depends on, or a change that means nothing; read it before a test is written.
"""

import argparse
import ast
import contextlib
import hashlib
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Final

ROOT: Final = Path(__file__).parents[2]
PACKAGE: Final = "globalprune"
LAWS: Final = {  # what a folder's mutants meet once they survive the unit tests of their module
    "planning": (
        "laws/test_budget.py",
        "laws/test_constraints.py",
        "laws/test_knapsack.py",
        "laws/test_knapsack_against_highs.py",
        "laws/test_latency.py",
    ),
    "artifacts": ("laws/test_round_trip.py", "laws/test_edits.py", "golden"),
    "surgery": (
        "laws/test_counts.py",
        "laws/test_empty_plan_is_identity.py",
        "laws/test_order.py",
        "laws/test_slice_equals_mask.py",
    ),
    "statistics": (
        "laws/test_batch_size.py",
        "laws/test_resume.py",
        "parity/test_importance_parity.py",
    ),
    "compensation": ("laws/test_compensation.py",),
}
OPERATORS: Final = {
    ast.Add: ("+", "-"),
    ast.Sub: ("-", "+"),
    ast.Mult: ("*", "/"),
    ast.Div: ("/", "*"),
    ast.FloorDiv: ("//", "/"),
    ast.Mod: ("%", "*"),
    ast.Pow: ("**", "*"),
    ast.BitAnd: ("&", "|"),
    ast.BitOr: ("|", "&"),
}
COMPARISONS: Final = {
    ast.Lt: ("<", "<="),
    ast.LtE: ("<=", "<"),
    ast.Gt: (">", ">="),
    ast.GtE: (">=", ">"),
    ast.Eq: ("==", "!="),
    ast.NotEq: ("!=", "=="),
    ast.Is: ("is", "is not"),
    ast.IsNot: ("is not", "is"),
    ast.In: ("in", "not in"),
    ast.NotIn: ("not in", "in"),
}
PATIENCE: Final = 5  # times as long as the tests take without a mutant
LEAST_SECONDS: Final = 30
SHOWN: Final = 60  # characters of what a mutant replaces
MEMORY: Final = 2**34  # bytes of address space that a mutant's tests get
FAILED: Final = (1, 2, 3)  # pytest's codes for tests that failed, and for modules that don't import


@dataclass(frozen=True)
class Mutant:
    """One change of one module: `text[start:end]` becomes `new`."""

    module: str  # its path in the repository
    line: int
    start: int
    end: int
    old: str
    new: str

    def __str__(self) -> str:
        """Name the place and the change."""
        old = " ".join(self.old.split())
        shown = old if len(old) <= SHOWN else f"{old[:SHOWN]}…"
        return f"{self.module}:{self.line}: {shown} -> {self.new or 'nothing'}"


@dataclass(frozen=True)
class Verdict:
    """What became of a mutant."""

    mutant: Mutant
    killed: bool
    by: str  # tests, time, or nobody
    seconds: float


class Finder(ast.NodeVisitor):
    """Finds what can be changed in a module, with the name of the function around each place."""

    def __init__(self, module: str, text: str) -> None:
        self._module, self._text = module, text
        self._starts = [0]
        for line in text.splitlines(keepends=True):
            self._starts.append(self._starts[-1] + len(line))
        self._lines = text.splitlines(keepends=True)
        self._names: list[str] = []
        self.mutants: list[tuple[str, Mutant]] = []  # name of the place, mutant

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        """Look into the body and the defaults; annotations and decorators decide nothing."""
        self._names.append(node.name)
        for default in (*node.args.defaults, *filter(None, node.args.kw_defaults)):
            self.visit(default)
        for statement in node.body:
            self.visit(statement)
        self._names.pop()

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        """Look into the body."""
        self._names.append(node.name)
        for statement in node.body:
            self.visit(statement)
        self._names.pop()

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        """Look at the value alone."""
        if node.value is not None:
            self.visit(node.value)

    def visit_JoinedStr(self, node: ast.JoinedStr) -> None:
        """Leave texts alone: messages are compared in part, so their mutants tell little."""

    def visit_Raise(self, node: ast.Raise) -> None:
        """Leave messages alone."""

    def visit_BinOp(self, node: ast.BinOp) -> None:
        """Change an operator, unless it joins texts or types."""
        change = OPERATORS.get(type(node.op))
        texts = any(isinstance(side, ast.JoinedStr) for side in (node.left, node.right))
        if change is not None and not texts:
            self._between(node.left, node.right, *change)
        self.generic_visit(node)

    def visit_Compare(self, node: ast.Compare) -> None:
        """Change every comparison of a chain."""
        sides = [node.left, *node.comparators]
        for operator, left, right in zip(node.ops, sides, sides[1:], strict=False):
            self._between(left, right, *COMPARISONS[type(operator)])
        self.generic_visit(node)

    def visit_BoolOp(self, node: ast.BoolOp) -> None:
        """Change `and` into `or`, and the other way round."""
        change = ("and", "or") if isinstance(node.op, ast.And) else ("or", "and")
        for left, right in zip(node.values, node.values[1:], strict=False):
            self._between(left, right, *change)
        self.generic_visit(node)

    def visit_UnaryOp(self, node: ast.UnaryOp) -> None:
        """Leave a `not` or a minus out."""
        if isinstance(node.op, ast.Not | ast.USub):
            start = self._offset(node.lineno, node.col_offset)
            self._add(node.lineno, start, self._offset(*_start(node.operand)), "")
        self.generic_visit(node)

    def visit_Constant(self, node: ast.Constant) -> None:
        """Change a number or a truth value."""
        value = node.value
        if isinstance(value, bool):
            self._replace(node, str(not value))
        elif isinstance(value, int | float):
            self._replace(node, repr(value + 1))

    def visit_Return(self, node: ast.Return) -> None:
        """Return None instead of a value."""
        if node.value is not None and not _is_none(node.value):
            self._replace(node.value, "None")
            self.visit(node.value)

    def _between(self, left: ast.expr, right: ast.expr, old: str, new: str) -> None:
        """Change the operator between two operands."""
        start, end = self._offset(*_end(left)), self._offset(*_start(right))
        at = self._text.find(old, start, end)
        if at >= 0:
            self._add(left.end_lineno or left.lineno, at, at + len(old), new)

    def _replace(self, node: ast.expr, new: str) -> None:
        """Change a whole expression."""
        self._add(node.lineno, self._offset(*_start(node)), self._offset(*_end(node)), new)

    def _offset(self, line: int, column: int) -> int:
        """Where in the text a place lies that ast gives in bytes of a line."""
        before = self._lines[line - 1].encode()[:column]
        return self._starts[line - 1] + len(before.decode())

    def _add(self, line: int, start: int, end: int, new: str) -> None:
        """Take note of a mutant."""
        old = self._text[start:end]
        mutant = Mutant(self._module, line, start, end, old, new)
        self.mutants.append((".".join(self._names), mutant))


def _start(node: ast.expr) -> tuple[int, int]:
    return node.lineno, node.col_offset


def _end(node: ast.expr) -> tuple[int, int]:
    return node.end_lineno or node.lineno, node.end_col_offset or node.col_offset


def _is_none(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is None


def mutants_of(module: str, text: str) -> list[tuple[str, Mutant]]:
    """Every mutant of a module that Python can read, each with a name that outlives moved lines."""
    finder = Finder(module, text)
    finder.visit(ast.parse(text))
    named: list[tuple[str, Mutant]] = []
    seen: dict[str, int] = {}
    for place, mutant in finder.mutants:
        changed = text[: mutant.start] + mutant.new + text[mutant.end :]
        try:
            compile(changed, module, "exec")
        except (SyntaxError, ValueError):
            continue
        line = text[: mutant.start].rpartition("\n")[2] + text[mutant.start :].partition("\n")[0]
        name = f"{module}:{place}:{line.strip()}:{mutant.old}:{mutant.new}"
        seen[name] = seen.get(name, 0) + 1
        named.append((f"{name}:{seen[name]}", mutant))
    return named


def sample(seed: int, count: int) -> list[Mutant]:
    """Draw `count` mutants, as many from each folder; the same ones for the same code."""
    drawn = []
    for number, folder in enumerate(LAWS):
        candidates = []
        for path in sorted((ROOT / PACKAGE / folder).rglob("*.py")):
            candidates += mutants_of(str(path.relative_to(ROOT)), path.read_text(encoding="utf-8"))
        candidates.sort(key=lambda named: hashlib.sha256(f"{seed}:{named[0]}".encode()).digest())
        share = count * (number + 1) // len(LAWS) - count * number // len(LAWS)
        drawn += [mutant for _, mutant in candidates[:share]]
    return drawn


def stages_of(mutant: Mutant) -> Iterator[list[str]]:
    """Yield the unit tests of the module, or of its folder if it has none; then the laws."""
    path = Path(mutant.module).relative_to(PACKAGE)
    folder = ROOT / "tests" / "unit" / path.parent
    own = sorted({*folder.glob(f"test_{path.stem}.py"), *folder.glob(f"test_{path.stem}_*.py")})
    yield [str(test.relative_to(ROOT)) for test in own or [folder]]
    yield [f"tests/{law}" for law in LAWS[path.parts[0]]]


class Copy:
    """A copy of the repository in which mutants are planted one after the other."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        listed = subprocess.run(
            ["git", "ls-files", "-z"],  # noqa: S607 - wherever it is
            cwd=ROOT,
            capture_output=True,
            check=True,
            text=True,
        )
        for name in filter(None, listed.stdout.split("\0")):
            if (ROOT / name).is_file():
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(ROOT / name, folder / name)
        self._seconds: dict[tuple[str, ...], float] = {}
        self._written = time.time()

    def judge(self, mutant: Mutant) -> Verdict:
        """Plant the mutant and run its tests, stage by stage, until one fails."""
        original = (ROOT / mutant.module).read_text(encoding="utf-8")
        mutated = original[: mutant.start] + mutant.new + original[mutant.end :]
        started = time.monotonic()
        by = "nobody"
        for stage in stages_of(mutant):
            limit = self._limit(stage)
            self._write(mutant.module, mutated)
            code = self._run(stage, limit)
            self._write(mutant.module, original)
            if code is None or code in FAILED or code < 0:
                by = "time" if code is None else "tests"
                break
        return Verdict(mutant, by != "nobody", by, round(time.monotonic() - started, 1))

    def _limit(self, stage: Sequence[str]) -> float:
        """How long tests may take: many times as long as without a mutant, when they must pass."""
        key = tuple(stage)
        if key not in self._seconds:
            started = time.monotonic()
            code = self._run(stage, None)
            if code != 0:
                raise SystemExit(f"{' '.join(stage)}: fail without a mutant (exit code {code}).")
            self._seconds[key] = time.monotonic() - started
        return max(LEAST_SECONDS, PATIENCE * self._seconds[key])

    def _run(self, tests: Sequence[str], limit: float | None) -> int | None:
        """Run tests in the copy; the exit code, or None where the time ran out."""
        command = [
            sys.executable, "-m", "pytest", "-x", "-q", "-m", "not runtimes and not slow",
            "-p", "no:randomly", "-p", "no:cacheprovider", "--hypothesis-seed=0", *tests,
        ]  # fmt: skip
        environment = os.environ | {
            "PYTHONPATH": str(self._folder),
            "OMP_NUM_THREADS": "1",
            "CUDA_VISIBLE_DEVICES": "",  # its driver takes more address space than there is
        }
        with subprocess.Popen(
            command,
            cwd=self._folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        ) as process:
            if hasattr(resource, "prlimit"):
                resource.prlimit(process.pid, resource.RLIMIT_AS, (MEMORY, MEMORY))
            try:
                return process.wait(limit)
            except subprocess.TimeoutExpired:
                return None
            finally:  # with what a test started
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)

    def _write(self, module: str, text: str) -> None:
        """Write a module with a time that no compiled file of it has."""
        path = self._folder / module
        path.write_text(text, encoding="utf-8")
        self._written += 2
        os.utime(path, (self._written, self._written))


def judge_all(mutants: Sequence[Mutant], jobs: int) -> Iterator[Verdict]:
    """Judge the mutants, so many at once, each in a copy that no other uses meanwhile."""
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        copies: SimpleQueue[Copy] = SimpleQueue()
        for number in range(jobs):
            copies.put(Copy(Path(folder) / str(number)))

        def judge(mutant: Mutant) -> Verdict:
            copy = copies.get()
            try:
                return copy.judge(mutant)
            finally:
                copies.put(copy)

        with ThreadPoolExecutor(jobs) as pool:
            yield from pool.map(judge, mutants)


def main() -> int:
    """Print a line for each mutant, and how many were killed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seed", type=int, default=20)
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--jobs", type=int, default=1, help="mutants that run at once")
    parser.add_argument("--list", action="store_true", help="print the sample and run nothing")
    parser.add_argument("--record", type=Path, help="a .json file for the verdicts")
    parser.add_argument("--at-least", type=int, default=0, help="kills below which to exit with 1")
    options = parser.parse_args()
    mutants = sample(options.seed, options.count)
    if options.list:
        print(*mutants, sep="\n")
        return 0
    verdicts = []
    for verdict in judge_all(mutants, options.jobs):
        verdicts.append(verdict)
        fate = f"killed by {verdict.by}" if verdict.killed else "SURVIVED"
        print(f"{fate:>15} {verdict.seconds:6.1f} s  {verdict.mutant}", flush=True)
    killed = sum(verdict.killed for verdict in verdicts)
    print(f"{killed} of {len(verdicts)} mutants killed")
    if options.record is not None:
        text: list[dict[str, Any]] = [asdict(verdict) for verdict in verdicts]
        options.record.write_text(json.dumps(text, indent=1) + "\n", encoding="utf-8")
    return int(killed < options.at_least)


if __name__ == "__main__":
    sys.exit(main())
