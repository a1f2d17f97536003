"""The commands of the planning day start at once: torch and its like never load."""

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from analyses import saved_analysis

from globalprune.cli.app import COMMANDS
from globalprune.options import PlanOptions
from globalprune.planning.write import write_plans

HEAVY = ("torch", "transformers", "datasets", "peft", "pandas")
REFUSING = {
    "analyze": ["analyze", "{model}", "-o", "{out}", "--data", "builtin"],
    "apply": ["apply", "{model}", "--plan", "{plan}", "-o", "{out}"],
    "prune": ["prune", "{model}", "--ratio", "0.2", "-o", "{out}", "--data", "builtin"],
    "sweep": ["sweep", "{model}", "-o", "{out}", "--ratio", "0.2", "--data", "builtin"],
    "check": ["check", "{plan}", "--model", "{model}"],
    "export": ["export", "{model}", "--to", "gguf", "-o", "{out}"],
    "measure": ["measure", "{model}", "-o", "{out}", "--context", "8"],
    "eval": ["eval", "{model}"],
    "finetune": ["finetune", "{model}", "-o", "{out}", "--data", "builtin"],
}
QUANTISED: tuple[dict[str, object], str] = (
    {"quantization_config": {"quant_method": "awq"}},
    "are quantised",
)
UNCUTTABLE: tuple[tuple[dict[str, object], str], ...] = (
    QUANTISED,
    ({"model_type": None}, "no model_type, which globalprune can't cut"),
    ({"head_dim": 5}, "heads of 5"),
)
ANY_FAMILY = ("eval", "finetune")  # whose models need not be cut
REFUSALS = [
    (command, *refusal)
    for command in REFUSING
    for refusal in (UNCUTTABLE if command not in ANY_FAMILY else (QUANTISED,))
]
PROBE = """
import sys
from globalprune.cli import app
for page in {pages!r}:
    sys.argv = ["gp", *page]
    try:
        app.main()
    except SystemExit:
        pass
loaded = [name for name in {heavy!r} if name in sys.modules]
sys.exit("loaded: " + ", ".join(loaded) if loaded else 0)
"""


def test_help_loads_nothing_heavy() -> None:
    """Every page of help is written without torch."""
    pages = [["--help"], ["--version"], *([command, "--help"] for command in COMMANDS)]
    code = PROBE.format(pages=pages, heavy=HEAVY)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    assert done.stdout.count("Usage: gp") == len(pages) - 1


@pytest.mark.parametrize("command", ["plan", "check", "diff", "report"])
def test_the_planning_day_loads_nothing_heavy(tmp_path: Path, command: str) -> None:
    """Planning, checking, comparing and reporting for real never import torch either."""
    write_plans(saved_analysis(tmp_path), PlanOptions((0.1, 0.3)))
    first, second = str(tmp_path / "plan-0.10.yaml"), str(tmp_path / "plan-0.30.yaml")
    arguments = {
        "plan": ["plan", str(tmp_path), "--ratio", "0.2"],
        "check": ["check", first, "--write"],
        "diff": ["diff", first, second],
        "report": ["report", str(tmp_path), first, "-o", str(tmp_path / "parameters.html")],
    }[command]
    code = PROBE.format(pages=[arguments], heavy=HEAVY)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    assert "parameters" in done.stdout


def spoiled(folder: Path, changes: dict[str, object]) -> None:
    """Change values of a folder's config.json."""
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text("utf-8")) | changes), "utf-8")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("command", "changes", "message"),
    REFUSALS,
    ids=[f"{command}: {next(iter(changes))}" for command, changes, _ in REFUSALS],
)
def test_a_model_is_refused_before_anything_heavy_loads(
    tiny: Callable[[str], Path],
    tmp_path: Path,
    command: str,
    changes: dict[str, object],
    message: str,
) -> None:
    """config.json and the headers of the weights tell; torch would take most of the time."""
    model = tmp_path / "model"
    shutil.copytree(tiny("llama"), model)
    spoiled(model, changes)
    plan = tmp_path / "plan.yaml"
    plan.write_text("format: globalprune.plan/1\nlayers: {}\n", "utf-8")
    words = [
        word.format(model=model, out=tmp_path / "out", plan=plan) for word in REFUSING[command]
    ]
    code = PROBE.format(pages=[words], heavy=HEAVY)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    assert message in done.stderr
    assert not (tmp_path / "out").exists()


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
