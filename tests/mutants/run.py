"""Plants mutants in a copy of the package, and counts those that its tests kill.

    python tests/mutants/run.py [--seed 20] [--count 100] [--jobs 1] [--record FILE]

A mutant is one changed operator, comparison, constant or return. The sample is drawn by digests of
place and text, as many from each folder, so a change elsewhere leaves it as it is. A mutant runs
against the unit tests of its module, then the laws of its folder. A survivor is code that no test
depends on, or a change that means nothing; read it before a test is written.
"""

import argparse
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

sys.path.insert(0, str(Path(__file__).parents[1]))

from mutants.finder import Mutant, mutants_of

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
PATIENCE: Final = 5  # times as long as the tests take without a mutant
LEAST_SECONDS: Final = 30
MEMORY: Final = 2**34  # bytes of address space that a mutant's tests get
FAILED: Final = (1, 2, 3)  # pytest's codes for tests that failed, and for modules that don't import


@dataclass(frozen=True)
class Verdict:
    """What became of a mutant."""

    mutant: Mutant
    killed: bool
    by: str  # tests, time, or nobody
    seconds: float


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
            sys.executable, "-m", "pytest", "-x", "-q", "-m", "not runtimes",
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
