"""The options of every command, as a reviewed list: adding one edits the list in the same diff."""

import os
from pathlib import Path
from typing import Any

import pytest

from globalprune.cli import app

GOLDEN = Path(__file__).with_name("cli_options.txt")


def options(name: str) -> str:
    """One line a parameter: its spellings and its default."""
    command: Any = app.LazyGroup().get_command(None, name)
    lines = [
        f"  {' '.join(parameter.opts + parameter.secondary_opts)} = {parameter.default}"
        for parameter in command.params
    ]
    return "\n".join([f"gp {name}", *lines])


def test_options_are_the_reviewed_ones() -> None:
    """No option appears, vanishes or changes its default unseen; `make golden` rewrites it."""
    found = "\n".join(options(name) for name in app.COMMANDS) + "\n"
    if os.environ.get("UPDATE_GOLDEN"):
        GOLDEN.write_text(found, encoding="utf-8")

    assert found == GOLDEN.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", app.COMMANDS)
def test_help_reads_like_a_manual_page(name: str) -> None:
    """Each command's help says what it does and gives one example; each option has words."""
    command: Any = app.LazyGroup().get_command(None, name)

    assert f"gp {name} " in command.help
    for parameter in command.params:
        assert parameter.help, parameter.name


@pytest.mark.parametrize("name", ["analyze", "prune"])
def test_the_help_names_every_importance(name: str) -> None:
    """It can't import their registry, which loads torch."""
    from globalprune.importance import IMPORTANCES

    command: Any = app.LazyGroup().get_command(None, name)
    [option] = [parameter for parameter in command.params if parameter.name == "importance"]
    words = set(option.help.replace(",", " ").replace(".", " ").split())
    assert words >= IMPORTANCES.keys()


def test_the_help_names_the_default_text() -> None:
    """Nobody finds out by surprise what is fetched; the help can't import the constant."""
    from globalprune.text.calibration import DEFAULT_SOURCE

    command: Any = app.LazyGroup().get_command(None, "analyze")
    [data] = [parameter for parameter in command.params if parameter.name == "data"]
    assert DEFAULT_SOURCE in data.show_default


@pytest.mark.parametrize("name", ["apply", "analyze"])
def test_the_help_names_the_default_of_gate_steps(name: str) -> None:
    """It is None there, so that a word without --compensate is noticed."""
    from globalprune.artifacts.results.cut import GATE_STEPS

    command: Any = app.LazyGroup().get_command(None, name)
    [steps] = [parameter for parameter in command.params if parameter.name == "gate_steps"]
    assert steps.show_default == str(GATE_STEPS)
