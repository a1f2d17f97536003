"""The commands of the planning day start at once: torch and its like never load."""

import subprocess
import sys
import time
from pathlib import Path

import pytest
from analyses import saved_analysis

from globalprune.planning.writing import write_plans

HEAVY = ("torch", "transformers", "datasets", "peft", "pandas")
PROBE = """
import sys
from globalprune.cli import app
sys.argv = ["gp", *{arguments!r}]
try:
    app.main()
except SystemExit:
    pass
loaded = [name for name in {heavy!r} if name in sys.modules]
sys.exit("loaded: " + ", ".join(loaded) if loaded else 0)
"""


@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["--version"], ["plan", "--help"], ["check", "--help"], ["diff", "--help"],
     ["analyze", "--help"], ["apply", "--help"], ["eval", "--help"], ["measure", "--help"]],
    ids=" ".join,
)  # fmt: skip
def test_help_loads_nothing_heavy(arguments: list[str]) -> None:
    """Every page of help is written without torch."""
    code = PROBE.format(arguments=arguments, heavy=HEAVY)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("command", ["plan", "check", "diff"])
def test_the_planning_day_loads_nothing_heavy(tmp_path: Path, command: str) -> None:
    """Planning, checking and comparing for real never import torch either."""
    write_plans(saved_analysis(tmp_path), [0.1, 0.3])
    first, second = str(tmp_path / "plan-0.10.yaml"), str(tmp_path / "plan-0.30.yaml")
    arguments = {
        "plan": ["plan", str(tmp_path), "--ratio", "0.2"],
        "check": ["check", first, "--write"],
        "diff": ["diff", first, second],
    }[command]
    code = PROBE.format(arguments=arguments, heavy=HEAVY)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    assert "parameters" in done.stdout


def test_help_is_instant() -> None:
    """`gp --help` answers within 1.5 times what importing typer and pydantic costs."""
    ours = [sys.executable, "-m", "globalprune", "--help"]
    yardstick = [sys.executable, "-c", "import typer, pydantic"]
    pairs = [(_seconds(ours), _seconds(yardstick)) for _ in range(7)]  # in turn: the machine drifts

    assert min(pair[0] for pair in pairs) < 1.5 * min(pair[1] for pair in pairs)


def _seconds(command: list[str]) -> float:
    started = time.perf_counter()
    subprocess.run(command, capture_output=True, check=True)
    return time.perf_counter() - started


def test_the_package_itself_is_light() -> None:
    """`import globalprune` hands on names without loading torch."""
    code = f"import globalprune, sys; sys.exit(any(n in sys.modules for n in {HEAVY!r}))"
    done = subprocess.run([sys.executable, "-c", code], check=False)

    assert done.returncode == 0
