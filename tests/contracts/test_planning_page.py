"""docs/planning.md tells the truth: its commands run, in its order."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from analyses import saved_analysis, structure_of, traits_with

PAGE = Path(__file__).parents[2] / "docs" / "planning.md"


@pytest.mark.skipif(shutil.which("bash") is None, reason="the page is for a shell")
def test_an_afternoon_of_planning(tmp_path: Path) -> None:
    """Top to bottom, as a person would type it; a command that fails ends it."""
    shape = structure_of(((2, 8), (2, 8), (2, 8)))
    saved_analysis(tmp_path / "analysis", shape, traits=traits_with())
    blocks = re.findall(
        r"^```console\n(.*?)^```", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL
    )
    lines = [line.removeprefix("$ ") for block in blocks for line in block.splitlines()]
    script = [
        "set -e",
        f'gp() {{ "{sys.executable}" -m globalprune "$@"; }}',
        f'python() {{ "{sys.executable}" "$@"; }}',
        *lines,
    ]
    done = subprocess.run(
        ["bash", "-c", "\n".join(script)],  # noqa: S607
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert len(lines) > 10
    assert done.returncode == 0, done.stderr
    assert "layer 1 attention: now stays" in done.stdout or "layer 1 mlp: now" in done.stdout
    assert "keeps the pins and edits of plans/a.yaml" in done.stderr
