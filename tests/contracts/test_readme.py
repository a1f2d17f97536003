"""The README tells the truth: its commands run, in its order, and its Python does too."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

README = Path(__file__).parents[2] / "README.md"
MODEL = "demo/SmolLM2-135M-Instruct"  # a tiny random model stands in for it here


def blocks(language: str) -> list[str]:
    """The fenced blocks of one language, in order."""
    text = README.read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)


def commands() -> list[list[str]]:
    """Every `gp` command of the README, with its lines joined."""
    text = "\n".join(blocks("console")).replace("\\\n", " ")
    lines = [line.removeprefix("$ ") for line in text.splitlines() if line.startswith("$ gp ")]
    return [shlex.split(line, comments=True)[1:] for line in lines]


@pytest.fixture
def workplace(tmp_path: Path, tiny: Callable[[str], Path]) -> Path:
    """A folder in which the README's model exists."""
    shutil.copytree(tiny("llama"), tmp_path / MODEL)
    return tmp_path


@pytest.mark.slow
def test_every_command_and_snippet_runs(workplace: Path) -> None:
    """A newcomer can type the whole page, top to bottom."""
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    assert len(commands()) >= 5
    for arguments in commands():
        done = subprocess.run(
            [sys.executable, "-m", "globalprune", *arguments],
            cwd=workplace, env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"gp {shlex.join(arguments)}\n{done.stderr}"
    assert blocks("python")
    for snippet in blocks("python"):
        done = subprocess.run(
            [sys.executable, "-c", snippet],
            cwd=workplace, env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{snippet}\n{done.stderr}"


def test_the_make_targets_of_the_readme_exist() -> None:
    """Every `make …` that the README names is a target."""
    makefile = (README.parent / "Makefile").read_text(encoding="utf-8")
    named = set(
        re.findall(r"`make ([a-z]+)`|^\$ make ([a-z]+)", README.read_text("utf-8"), re.MULTILINE)
    )

    assert named
    for target in {first or second for first, second in named}:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
