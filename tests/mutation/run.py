"""`python tests/mutation/run.py --cases 5000`: damaged files by the thousand, and what went wrong.

Exit code 1 where a command ended in anything but an answer or a refusal that names the file.
"""

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

from mutation.damage import build, memory_limit, run_cases, tally


def main() -> int:
    """Run the cases and print each failure as it is found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=5000)
    parser.add_argument("--first", type=int, default=0, help="the number of the first case")
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    numbers = range(chosen.first, chosen.first + chosen.cases)
    failures = []
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        build()
        started = time.monotonic()
        with memory_limit():
            for failure in run_cases(numbers, chosen.seed):
                failures.append(failure)
                said = f"case {failure.number}: {failure.file}: gp {' '.join(failure.command)}\n"
                sys.stdout.write(f"{said}    {failure.what[:600]}\n")
                sys.stdout.flush()
        seconds = time.monotonic() - started
        os.chdir("/")
    wrong = ", ".join(f"{file} {count}" for file, count in tally(failures).most_common())
    sys.stdout.write(
        f"{len(numbers)} cases of seed {chosen.seed} in {seconds:.0f} s: {len(failures)} wrong"
        f"{f' ({wrong})' if wrong else ''}\n"
    )
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
