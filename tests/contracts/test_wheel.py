"""A wheel built from the tree works without the tree."""

import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

TREE = Path(__file__).parents[2]
USE_IT = """
import pathlib, sys
site, model = sys.argv[1:]
import globalprune
from globalprune.cli import app
assert pathlib.Path(globalprune.__file__).is_relative_to(site), globalprune.__file__

def gp(*arguments):
    sys.argv = ["gp", *arguments]
    try:
        app.main()
    except SystemExit as stop:
        assert not stop.code, (arguments, stop.code)

gp("analyze", model, "-o", "a", "--samples", "4", "--seq-len", "16", "--data", "builtin")
gp("apply", model, "--plan", "a/plan.yaml", "-o", "out")
gp("report", "a", "out")
globalprune.load_model("out")
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel as a release would."""
    out = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(out)]
    subprocess.run(command, cwd=TREE, check=True, capture_output=True)
    return next(out.glob("*.whl"))


def test_the_wheel_carries_what_is_no_module_of_it(wheel: Path) -> None:
    """The modeling file and the page's template are in the wheel; tests and demos are not."""
    names = zipfile.ZipFile(wheel).namelist()

    assert "globalprune/models/modeling_globalprune.py" in names
    assert {"globalprune/report/page.html.jinja", "globalprune/report/page.css"} <= set(names)
    assert not [name for name in names if name.startswith(("tests/", "demo/", "examples/"))]


@pytest.mark.slow
def test_the_wheel_works_without_the_tree(
    wheel: Path, tmp_path: Path, tiny: Callable[[str], Path]
) -> None:
    """Analyze, apply, report and load run from the unpacked wheel, far from the tree."""
    site = tmp_path / "site"
    zipfile.ZipFile(wheel).extractall(site)
    work = tmp_path / "work"
    work.mkdir()
    environment = {**os.environ, "PYTHONPATH": str(site)}
    command = [sys.executable, "-c", USE_IT, str(site), str(tiny("llama"))]

    done = subprocess.run(
        command, cwd=work, env=environment, capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stderr
    assert (work / "a" / "plan.v1.schema.json").is_file()
    assert (work / "out" / "model.safetensors").is_file()
    assert (work / "report.html").is_file()
