"""The commands of the planning day start at once: torch and its like never load."""

import subprocess
import sys

import pytest

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
     ["analyze", "--help"], ["apply", "--help"], ["eval", "--help"]],
    ids=" ".join,
)  # fmt: skip
def test_help_loads_nothing_heavy(arguments: list[str]) -> None:
    """Every page of help is written without torch."""
    code = PROBE.format(arguments=arguments, heavy=HEAVY)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr


def test_the_package_itself_is_light() -> None:
    """`import globalprune` hands on names without loading torch."""
    code = f"import globalprune, sys; sys.exit(any(n in sys.modules for n in {HEAVY!r}))"
    done = subprocess.run([sys.executable, "-c", code], check=False)

    assert done.returncode == 0
