"""docs/planning.md tells the truth: its commands run, in its order."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from analyses import saved_analysis, structure_of, traits_with

from globalprune.artifacts.structure import ModelStructure

PAGE = Path(__file__).parents[2] / "docs" / "planning.md"


def smollm2() -> ModelStructure:
    """The structure of the model that the README measures."""
    like = structure_of(
        ((3, 1536),) * 30, attention_cost=294_912, mlp_cost=1728, outside=28_346_568
    )
    heads = {"query_heads_per_group": 3, "head_dim": 64}
    return like.model_copy(
        update={"layers": tuple(layer.model_copy(update=heads) for layer in like.layers)}
    )


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("bash") is None, reason="the page is for a shell")
def test_an_afternoon_of_planning(tmp_path: Path) -> None:
    """Top to bottom, as a person would type it; a command that fails ends it."""
    saved_analysis(tmp_path / "analysis", smollm2(), traits=traits_with(hidden_size=576))
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
    assert "layer 29 mlp: now stays" in done.stdout
    assert "keeps the pins and edits of drafts/a.yaml" in done.stderr
